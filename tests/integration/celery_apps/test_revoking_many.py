"""A thousand revoked tasks in front of an app's workers: none runs that could be kept from it."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from tests.deployment.gateway import Gateway
from tests.deployment.lasting import Lasting
from tests.deployment.workers import Deployment
from tests.support.celery_apps import DEPLOYMENT, WORKER, revoke, submit
from tests.support.waiting import eventually

__all__ = ["DEPLOYMENT"]
QUEUES = WORKER[1:]
AT_ONCE = 20


async def submitted(gateway: Gateway, many: int, word: str, **options: Any) -> list[str]:
    task = {"task": "proj.note", "args": [word], "options": options}
    async with gateway.post("/v1/tasks/bulk", json=[task] * many) as answer:
        return [outcome["id"] for outcome in await answer.json()]


async def states(gateway: Gateway, ids: Sequence[str]) -> set[str]:
    async with gateway.post("/v1/tasks/status", json={"ids": ids}) as answer:
        return {state["state"] for state in (await answer.json())["tasks"]}


async def revoke_all(gateway: Gateway, ids: Sequence[str]) -> None:
    left = list(ids)

    async def some() -> None:
        while left:
            assert (await revoke(gateway, left.pop()))["revoking"] is True

    await asyncio.gather(*(some() for _ in range(AT_ONCE)))


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_of_a_thousand_waiting_and_a_thousand_delayed_none_runs(
    apps: Gateway, lasting_deployment: Lasting
):
    async with lasting_deployment.worker("prefork", *QUEUES, concurrency=1):
        slow = await submit(apps, "slow", 600, wait=0)
        await eventually(
            lambda: lasting_deployment.record(slow["id"]).get("status") == "STARTED", 20
        )
        waiting = await submitted(apps, 1000, "waiting")
        delayed = await submitted(apps, 1000, "delayed", countdown=120)
        await revoke_all(apps, waiting + delayed)
        assert await states(apps, waiting) == await states(apps, delayed) == {"PENDING"}
        await revoke(apps, slow["id"], "?terminate=true")

        async def dropped() -> bool:
            return await states(apps, waiting) == {"REVOKED"}

        await eventually(dropped, 120, 1)
    await lasting_deployment.rest()  # what its workers remember is gone
    async with lasting_deployment.worker("prefork", *QUEUES, concurrency=1):

        async def dropped_too() -> bool:
            return await states(apps, delayed) == {"REVOKED"}

        await eventually(dropped_too, 240, 1)
        await submit(apps, "note", "last")

    assert lasting_deployment.runs == ["last"]


async def test_what_runs_after_all_was_never_told_revoked(
    apps: Gateway, lasting_deployment: Lasting
):
    """A restart of all workers costs them their memory of what waits in RabbitMQ."""
    await lasting_deployment.rest()
    stock = Deployment.worker(lasting_deployment, "prefork", *QUEUES, name="p", concurrency=1)
    async with stock as worker:
        slow = await submit(apps, "slow", 600, wait=0)
        await eventually(
            lambda: lasting_deployment.record(slow["id"]).get("status") == "STARTED", 20
        )
        waiting = await submitted(apps, 30, "waiting")
        await revoke_all(apps, waiting)
        assert await states(apps, waiting) == {"PENDING"}
        await worker.kill()
        assert await states(apps, waiting) == {"PENDING"}
    async with lasting_deployment.worker("threads", *QUEUES):
        seen: set[str] = set()

        async def all_ran() -> bool:
            told = await states(apps, waiting)
            seen.update(told)
            return told == {"SUCCESS"}

        await eventually(all_ran, 60, 0.05)

    assert seen <= {"PENDING", "SUCCESS"}
