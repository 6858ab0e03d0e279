"""Workers that restart again and again, in order and not, with work in their hands."""

import asyncio

import pytest

from devstack.stack import Stack
from tests.faults.test_servers_killed import WORKERS, all_succeed, submit

pytestmark = pytest.mark.timeout(180)

RESTARTS = 5
SHORT_S = 0.5


async def test_a_storm_of_restarts_loses_and_dead_letters_nothing(stack: Stack, http):
    ids = [await submit(http, "demo.sleep", SHORT_S) for _ in range(120)]
    ids += [await submit(http, "demo.add", n, n, countdown=n % 20) for n in range(60)]

    for number in range(RESTARTS):
        await asyncio.sleep(SHORT_S)  # they have begun some and hold others
        end = stack.stop_part if number % 2 else stack.kill
        await asyncio.gather(*(end(name) for name in WORKERS))
        await asyncio.gather(*(stack.start_part(name) for name in WORKERS))

    await all_succeed(http, ids)
    async with http.get("/v1/dead-letters/default") as response:
        assert (await response.json())["total"] == 0
