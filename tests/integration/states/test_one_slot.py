"""The keys of one task lie in one slot: a Redis that is a cluster takes every script of a task."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

import devstack.redis_server
from devstack.ports import free_port
from gateway.endings.revocation import revoked_record
from penstock.wire.keys import TaskKeys
from penstock.wire.scripts import script
from tests.support.waiting import eventually
from tests.support.worker_states import WorkerStates

KEPT_S = 3600


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Redis]:
    """A cluster of one node: it refuses a script whose keys lie in several slots."""
    server = devstack.redis_server.Redis(
        tmp_path, more=["cluster-enabled yes", f"cluster-port {free_port()}"]
    )
    await server.start()
    async with Redis.from_url(server.url) as client:
        await client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        await eventually(lambda: is_whole(client), timeout_s=10)
        yield client
    await server.kill()


async def is_whole(client: Redis) -> bool:
    return b"cluster_state:ok" in await client.execute_command("CLUSTER", "INFO")


async def call(client: Redis, name: str, keys: list[str], *arguments: Any) -> Any:
    return await client.eval(script(name).text, len(keys), *keys, *arguments)


async def test_every_script_of_a_task_runs_in_a_cluster(cluster: Redis):
    states = WorkerStates(cluster)
    for task_id in ("one", "01a2b3c4-d5e6-7f01-8a2b-c3d4e5f60718-1405a1b2c3d4e5f60718"):
        keys = TaskKeys.of(task_id)
        marks = [keys.record, keys.events, keys.ended, keys.revoked]

        assert await states.start(task_id) == "start"
        await states.progress(task_id, 1)
        await states.log(task_id, "stdout", "a line")
        assert await call(cluster, "task_suspect", [keys.record, keys.deaths], "p", 1, 60, 0) == 1
        assert await call(cluster, "task_revoke", marks, b"", KEPT_S, KEPT_S) == [
            b"running", b"PROGRESS",
        ]  # fmt: skip
        body = f'"status":"STARTED","task_id":"{task_id}"}}'
        assert await call(cluster, "task_take_back", marks[:3], body, KEPT_S) == 1
        await states.succeed(task_id)
        ended = [keys.record, keys.ended, keys.revoked]
        assert await call(cluster, "task_ask", ended, KEPT_S) == [b"ended", b"SUCCESS"]
        assert await call(cluster, "task_charge", [keys.deaths, keys.ended], 60) == 0
        record = revoked_record(task_id, "late")
        dead = [keys.record, keys.events, keys.ended, keys.copy]
        assert await call(cluster, "task_end", dead, "REVOKED", record, KEPT_S, "") == b"ended"
        [read] = await call(cluster, "task_read", ended, 1 << 20)
        assert b'"status":"SUCCESS"' in read
        [[_, complete, news]] = await call(cluster, "task_snapshot", marks, 1 << 20, 100, "0-0")
        assert (complete, len(news)) == (1, 5)
        assert await states.start(task_id, redelivered=True) == "revoked"
        slots = {await cluster.execute_command("CLUSTER", "KEYSLOT", key) for key in keys}
        assert len(slots) == 1
