"""DELETE /v1/tasks/{id} that is refused although the task is revoked: the answer says so."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis.asyncio

import devstack.redis_server
from devstack.proxy import Direction, TcpProxy
from gateway.api import parts
from gateway.errors import Problem
from penstock.wire.keys import TaskKeys
from tests.integration.callbacks.test_callbacks import submit
from tests.integration.test_revoke_states import revoke
from tests.support.receiver import receiving
from tests.support.waiting import eventually


@pytest.fixture
async def primary(tmp_path: Path) -> AsyncIterator[devstack.redis_server.Redis]:
    """A server of its own: one that gets a replica is no server for other tests."""
    server = devstack.redis_server.Redis(tmp_path / "primary")
    await server.start()
    yield server
    await server.kill()


@asynccontextmanager
async def replica_of(url: str, folder: Path) -> AsyncIterator[devstack.redis_server.Redis]:
    """Run a replica of a server."""
    followed = urlsplit(url)
    more = [f"replicaof {followed.hostname} {followed.port}"]
    server = devstack.redis_server.Redis(folder, more=more)
    await server.start()
    try:
        yield server
    finally:
        await server.kill()


async def until_answered(client: Any, task_id: str) -> tuple[int, Any]:
    """Repeat a DELETE while it is a 503."""

    async def answer() -> tuple[int, Any] | None:
        status, told = await revoke(client, task_id)
        return None if status == 503 else (status, told)

    found: tuple[int, Any] = await eventually(answer, timeout_s=20)
    return found


async def test_an_answer_of_redis_is_lost_and_the_repetition_finds_out(
    make_gateway, redis_url, worker
):
    async with TcpProxy(urlsplit(redis_url).port or 0) as proxy, receiving() as receiver:
        client = await make_gateway(
            redis_url=proxy.url_through(redis_url),
            callback_hosts=("127.0.0.1",), callback_private=True, callback_secret=b"known",
        )  # fmt: skip
        task_id, other = [
            await submit(client, receiver.url(), "demo.add", 1, 2, countdown=3600) for _ in range(2)
        ]
        await revoke(client, other)  # Redis knows the script from now on
        proxy.stall(Direction.TO_CLIENT)
        status, problem = await revoke(client, task_id)
        proxy.resume()

        assert (status, problem["code"], problem["revoked"]) == (
            503, "state-unavailable", "unknown",
        )  # fmt: skip
        assert problem["id"] == task_id
        assert problem["detail"].endswith("may be revoked all the same: repeat the request")
        assert await worker.start(task_id) == "revoked"
        status, told = await until_answered(client, task_id)
        assert (status, told["code"], told["state"]) == (409, "already-ended", "REVOKED")
        assert "revoked" not in told
        # Its message waits for an hour: no worker announces the end.
        assert (await receiver.called(task_id)).json["state"] == "REVOKED"


@pytest.mark.parametrize("issued_by", ["us", "others"])
async def test_a_revocation_that_no_replica_has_is_answered_once_one_has_it(
    make_gateway, primary, tmp_path, issued_by
):
    client = await make_gateway(redis_url=primary.url, redis_wait_replicas=1)
    ours = client.app[parts.ACCESS].task_ids.issue("anonymous")
    task_id = ours if issued_by == "us" else "somebody-elses"
    for _ in range(2):
        status, problem = await revoke(client, task_id)
        assert (status, problem["code"], problem["revoked"]) == (
            503, "state-unavailable", "unknown",
        )  # fmt: skip
        assert "did not copy it to a replica in time; the task may be revoked" in problem["detail"]

    async with replica_of(primary.url, tmp_path / "replica") as replica:
        status, told = await until_answered(client, task_id)
        await primary.kill()

        if issued_by == "us":
            assert (status, told["code"], told["state"]) == (409, "already-ended", "REVOKED")
        else:
            assert (status, told) == (202, {"id": task_id, "state": "PENDING", "revoking": True})
        async with redis.asyncio.Redis.from_url(replica.url) as copy:
            assert await copy.exists(TaskKeys.of(task_id).revoked)


async def test_a_running_task_that_cannot_be_stopped_never_starts_again(watching, issue, worker):
    task_id = issue()
    await worker.start(task_id)

    status, problem = await revoke(watching, task_id, "?terminate=true")

    assert (status, problem["code"], problem["revoked"]) == (503, "broker-unavailable", "yes")
    assert problem["detail"].endswith("the task never starts again: repeat the request")
    assert await worker.start(task_id, redelivered=True) == "revoked"


async def test_an_operation_that_repeats_its_revocation_is_answered_as_at_first(watching, issue):
    task_id, by_a_client = issue(), issue()
    verify = watching.app[parts.ACCESS].task_ids.verify
    revocation = watching.app[parts.ENDINGS].revocation
    await revoke(watching, by_a_client)

    async def operate(which: str, by: str) -> dict[str, Any]:
        issued = verify(which, ["anonymous"])
        told: dict[str, Any] = await revocation.revoke(
            which, issued, terminate=False, tenant=None, by=by
        )
        return told

    revoked = {"id": task_id, "state": "REVOKED", "terminating": False}
    assert [await operate(task_id, "one") for _ in range(2)] == [revoked] * 2
    for which, by in ((task_id, "another"), (by_a_client, "one")):
        with pytest.raises(Problem, match="already ended"):
            await operate(which, by)
    assert (await revoke(watching, task_id))[1]["code"] == "already-ended"
