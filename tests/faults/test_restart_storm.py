"""A worker that restarts again and again, in order and not, with work in its hands."""

import asyncio

import pytest

from devstack.stack import Stack
from tests.faults.test_servers_killed import all_succeed, submit

pytestmark = pytest.mark.timeout(180)

RESTARTS = 8
SHORT_S = 0.5


async def test_a_storm_of_restarts_loses_and_dead_letters_nothing(stack: Stack, http):
    ids = [await submit(http, "demo.sleep", SHORT_S) for _ in range(60)]
    ids += [await submit(http, "demo.add", n, n, countdown=n % 20) for n in range(60)]

    for number in range(RESTARTS):
        await asyncio.sleep(SHORT_S)  # it has begun some and holds others
        if number % 2:
            await stack.stop_part("worker-all")
        else:
            await stack.kill("worker-all")
        await stack.start_part("worker-all")

    await all_succeed(http, ids)
    async with http.get("/v1/dead-letters/default") as response:
        assert (await response.json())["total"] == 0
