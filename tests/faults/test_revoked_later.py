"""A revoked task that waits for its time never starts, whoever is restarted meanwhile."""

import asyncio
from typing import Any

import pytest
import redis.asyncio

from devstack.stack import Stack
from tests.faults.test_servers_killed import WORKERS, accepts, all_succeed, states, submit
from tests.support import history
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(180)

DUE_S = 16
"""All is restarted before it is due, unless the machine is slow: then it is due meanwhile."""


async def test_a_revoked_task_never_runs_after_restarts_of_everything(stack: Stack, http):
    revoked = await submit(http, "demo.echo", "revoked", countdown=DUE_S)
    witness = await submit(http, "demo.echo", "witness", countdown=DUE_S + 1)
    async with http.delete(f"/v1/tasks/{revoked}") as response:
        assert (response.status, (await response.json())["state"]) == (202, "REVOKED")
    await eventually(lambda: _synced(stack))
    for group in (stack.servers, (*WORKERS, "gateway")):
        await asyncio.gather(*(stack.kill(name) for name in group))
        await asyncio.gather(*(stack.start_part(name) for name in group))
    assert await states(http, [revoked]) == ["REVOKED"]
    await accepts(http)

    await all_succeed(http, [witness])
    assert await states(http, [revoked]) == ["REVOKED"]
    # Each start writes an event, so that a task which ran has one.
    assert await _changes(stack, revoked) == ["REVOKED"]
    assert (await _changes(stack, witness))[-2:] == ["STARTED", "SUCCESS"]


async def _changes(stack: Stack, task_id: str) -> list[str]:
    """Return the states that a task went through."""
    async with redis.asyncio.from_url(stack.redis_url) as client:
        snapshot: Any = client.register_script(history.SNAPSHOT)
        answer = await snapshot(**history.question(task_id))
    return [event["status"] for _, event in history.events(answer)]


async def _synced(stack: Stack) -> bool:
    """Whether the append-only file is on disk: it is written once a second."""
    async with redis.asyncio.from_url(stack.redis_url) as client:
        persistence = await client.info("persistence")
        return persistence["aof_pending_bio_fsync"] == 0 and persistence["aof_buffer_length"] == 0
