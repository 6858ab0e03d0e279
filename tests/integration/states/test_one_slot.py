"""The keys of one task lie in one slot: a Redis that is a cluster takes every script of a task."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

import devstack.redis_server
from devstack.ports import free_port
from gateway.endings.revocation import revoked_record
from penstock.wire.keys import FormerKeys, TaskKeys
from penstock.wire.scripts import script
from tests.waiting import eventually
from tests.worker_states import WorkerStates

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
        [read] = await call(cluster, "task_read", ended, 1 << 20, len(ended))
        assert b'"status":"SUCCESS"' in read
        [[_, complete, news]] = await call(cluster, "task_snapshot", marks, 1 << 20, 100, "0-0")
        assert (complete, len(news)) == (1, 5)
        assert await states.start(task_id, redelivered=True) == "revoked"
        slots = {await cluster.execute_command("CLUSTER", "KEYSLOT", key) for key in keys}
        assert len(slots) == 1


@pytest.fixture
def former(worker: WorkerStates):
    """Write a mark as a release wrote it before marks shared a slot."""

    async def write(task_id: str, mark: str, value: str) -> None:
        await worker.client.set(getattr(FormerKeys.of(task_id), mark), value, ex=KEPT_S)

    return write


async def start(worker: WorkerStates, task_id: str, *said: str):
    keys = [*TaskKeys.of(task_id)[:5], *FormerKeys.of(task_id)]
    body = worker._body(task_id, "STARTED", None)
    return await call(worker.client, "task_start", keys, body, KEPT_S, *(said or [""]))


async def test_a_mark_with_its_former_name_decides_whether_a_task_starts(worker, former):
    await former("revoked", "revoked", "1")
    await former("ended", "ended", "FAILURE")
    await former("copied", "copy", "first")

    assert await start(worker, "revoked") == b"revoked"
    assert await start(worker, "ended", "d") == b"ended"
    assert await start(worker, "copied", "", "second") == b"duplicate"
    assert await start(worker, "copied", "", "first") == b"start"
    assert await start(worker, "ended") == b"start"
    # It has its present name now, with the time that was left, or is gone with the new start.
    assert await worker.client.ttl(TaskKeys.of("revoked").revoked) > KEPT_S - 60
    former_names = [name for one in ("revoked", "ended", "copied") for name in FormerKeys.of(one)]
    assert await worker.client.exists(*former_names) == 0
    assert await start(worker, "ended", "d") == b"start"


async def test_the_present_mark_counts_where_both_are_there(worker, former):
    await former("both", "copy", "former")
    await worker.client.set(TaskKeys.of("both").copy, "present")

    assert await start(worker, "both", "", "former") == b"duplicate"
    assert await worker.client.exists(FormerKeys.of("both").copy) == 0


async def test_a_task_that_ended_under_a_former_name_ends_once(worker, former, issue):
    task_id = issue()
    await worker.start(task_id)
    await worker.succeed(task_id)
    await worker.client.rename(TaskKeys.of(task_id).ended, FormerKeys.of(task_id).ended)

    await worker.fail(task_id)

    assert b'"status":"SUCCESS"' in await worker.client.get(TaskKeys.of(task_id).record)


async def test_clients_are_told_what_has_its_former_name(watching, issue, former):
    ended, revoked, waiting = issue(), issue(), issue()
    await former(ended, "ended", "SUCCESS")
    await former(revoked, "revoked", "1")

    answers = {
        task_id: (await (await watching.get(f"/v1/tasks/{task_id}")).json()).get("code", "PENDING")
        for task_id in (ended, revoked, waiting)
    }
    async with watching.ws_connect("/v1/stream", protocols=["penstock.v1"]) as socket:
        await socket.send_json({"op": "subscribe", "ids": [ended, waiting]})
        told = [await socket.receive_json(timeout=10) for _ in range(2)]
    again = await watching.delete(f"/v1/tasks/{ended}")

    assert answers == {ended: "result-expired", revoked: "result-expired", waiting: "PENDING"}
    assert {one["id"]: one.get("code", one.get("state")) for one in told} == {
        ended: "result-expired", waiting: "PENDING",
    }  # fmt: skip
    assert (again.status, (await again.json())["code"]) == (409, "already-ended")
