"""Tenants take turns at the event loop, however many requests each of them has."""

import asyncio
import time

from gateway.http.turns import SLICE_S, Turns
from gateway.sharing.tenant import TENANT


async def test_a_tenant_with_many_requests_waits_for_himself():
    turns, order = Turns(), []

    async def compute(tenant: str, slices: int) -> None:
        TENANT.set(tenant)
        for _ in range(slices):
            until = time.perf_counter() + 1.2 * SLICE_S
            while time.perf_counter() < until:
                pass
            order.append(tenant)
            await turns.pause()

    await asyncio.gather(
        *(asyncio.create_task(compute("many", 5)) for _ in range(30)),
        asyncio.create_task(compute("one", 20)),
    )

    first = order.index("one")
    assert order[first : first + 40].count("one") >= 18
