"""DELETE /v1/tasks/{id} of tasks that have not started, that run, and that have ended."""

import asyncio
import random

import pytest
import redis.asyncio

from gateway.api import parts
from gateway.endings.revocation import revoked_record
from penstock.wire.keys import TaskKeys
from penstock.wire.scripts import script
from tests.support.stream_client import Stream
from tests.support.worker_states import WorkerStates

TRIES = 10_000


async def revoke(client, task_id, query="", **headers):
    response = await client.delete(f"/v1/tasks/{task_id}{query}", headers=headers)
    return response.status, await response.json()


async def test_a_task_that_has_not_started_is_revoked_at_once(watching, stream, issue, worker):
    task_id = issue()
    await stream.subscribe(task_id)
    await stream.next()
    answer = await revoke(watching, task_id)
    told = await stream.next()

    assert answer == (202, {"id": task_id, "state": "REVOKED", "terminating": False})
    assert (told["state"], told["error"]["type"]) == ("REVOKED", "TaskRevokedError")
    assert "finished_at" in told
    assert await worker.start(task_id) == "revoked"
    assert (await (await watching.get(f"/v1/tasks/{task_id}")).json())["state"] == "REVOKED"


async def test_the_mark_outlives_the_delay_of_the_task(watching, issue, worker):
    task_id = issue(delay_s=40_000_000)
    await revoke(watching, task_id)

    assert await worker.client.ttl(TaskKeys.of(task_id).revoked) > 40_000_000 + 89 * 86_400


async def test_a_task_that_waits_for_a_retry_is_revoked(watching, issue, worker):
    task_id = issue()
    await worker.start(task_id)
    await worker.store(task_id, "RETRY", {"exc_type": "E", "exc_message": ["x"]})
    answer = await revoke(watching, task_id)

    assert answer == (202, {"id": task_id, "state": "REVOKED", "terminating": False})
    assert await worker.start(task_id) == "revoked"


@pytest.mark.parametrize("state", ["STARTED", "PROGRESS", "UPLOADING"])
async def test_a_running_task_goes_on_but_never_starts_again(watching, issue, worker, state):
    task_id = issue()
    await worker.start(task_id)
    if state != "STARTED":
        await worker.store(task_id, state, {})
    answer = await revoke(watching, task_id)
    again = await worker.start(task_id, redelivered=True)
    await worker.succeed(task_id)

    assert answer == (202, {"id": task_id, "state": state, "terminating": False})
    assert again == "revoked"
    assert (await (await watching.get(f"/v1/tasks/{task_id}")).json())["state"] == "SUCCESS"


@pytest.mark.parametrize("record", ["kept", "expired"])
async def test_an_ended_task_cannot_be_revoked(watching, issue, worker, record):
    task_id = issue()
    await worker.succeed(task_id)
    if record == "expired":
        await worker.client.delete(f"celery-task-meta-{task_id}")
    status, body = await revoke(watching, task_id)

    assert (status, body["code"], body["state"]) == (409, "already-ended", "SUCCESS")
    assert not await worker.client.exists(TaskKeys.of(task_id).revoked)


async def test_what_stock_workers_ended_cannot_be_revoked(watching, issue, worker):
    task_id = issue()
    await worker.stock(task_id, "FAILURE", {"exc_type": "E", "exc_message": "x"})

    assert (await revoke(watching, task_id))[1]["state"] == "FAILURE"


async def test_revoking_twice_is_told(watching, issue):
    task_id = issue()
    first, second = await revoke(watching, task_id), await revoke(watching, task_id)

    assert first[0] == 202
    assert (second[0], second[1]["state"]) == (409, "REVOKED")


async def test_an_untracked_task_is_marked_and_has_no_state(watching, issue, worker):
    task_id = issue(tracked=False)
    answer = await revoke(watching, task_id)

    assert answer == (202, {"id": task_id, "tracked": False, "terminating": False})
    assert not await worker.client.exists(f"celery-task-meta-{task_id}")
    assert await worker.start(task_id) == "revoked"


@pytest.mark.parametrize("query", ["", "?terminate=true"])
async def test_an_id_of_others_that_redis_does_not_know_gets_no_record(gateway, redis_url, query):
    task_id = "somebody-elses"
    answer = await revoke(gateway, task_id, query)

    assert answer == (202, {"id": task_id, "state": "PENDING", "revoking": True})
    assert (await gateway.get(f"/v1/tasks/{task_id}")).status == 404
    async with redis.asyncio.from_url(redis_url) as client:
        kept = [key async for key in client.scan_iter(f"*{task_id}*")]
        assert kept == [TaskKeys.of(task_id).revoked.encode()]
        worker = WorkerStates(client)
        assert await worker.start(task_id) == "revoked"  # by a worker of ours, which tells the end
        await worker.store(task_id, "SUCCESS", 1)
    assert (await revoke(gateway, task_id))[0] == 409


async def test_revoking_needs_the_scope_submit_and_an_own_id(make_keyed_gateway):
    client = await make_keyed_gateway()
    task_id = client.app[parts.ACCESS].task_ids.issue("acme")
    answers = [
        await revoke(client, task_id),
        await revoke(client, task_id, **client.as_("reader")),
        await revoke(client, task_id, **client.as_("other")),
        await revoke(client, task_id, "?terminate=maybe", **client.as_("submitter")),
        await revoke(client, task_id, "?terminate=false", **client.as_("submitter")),
    ]

    assert [status for status, _ in answers] == [401, 403, 404, 400, 202]


async def test_a_revoke_and_a_start_that_race_end_in_exactly_one_of_both(redis_url, issue):
    ids = [issue() for _ in range(TRIES)]
    async with redis.asyncio.from_url(redis_url) as one, redis.asyncio.from_url(redis_url) as two:
        revoke_text, start_text = script("task_revoke").text, script("task_start").text
        revoking, starting = one.register_script(revoke_text), two.register_script(start_text)
        await one.script_load(revoke_text)
        await two.script_load(start_text)
        body = WorkerStates(two)._body

        async def revoke_all(some):
            pipe = one.pipeline(transaction=False)
            for task_id in some:
                keys = TaskKeys.of(task_id)
                await revoking(
                    keys=[keys.record, keys.events, keys.ended, keys.revoked],
                    args=[revoked_record(task_id, "revoked"), 60, 60],
                    client=pipe,
                )
            return dict(zip(some, await pipe.execute(), strict=True))

        async def start_all(some):
            pipe = two.pipeline(transaction=False)
            for task_id in some:
                keys = TaskKeys.of(task_id)
                await starting(
                    keys=[keys.record, keys.events, keys.ended, keys.revoked, keys.copy],
                    args=[body(task_id, "STARTED", None), 60, ""],
                    client=pipe,
                )
            return dict(zip(some, await pipe.execute(), strict=True))

        wins = {"ran": 0, "revoked": 0}
        for start in range(0, TRIES, 500):
            some = ids[start : start + 500]
            shuffled = random.sample(some, len(some))
            revokes, starts = await asyncio.gather(revoke_all(some), start_all(shuffled))
            for task_id in some:
                ran = starts[task_id] == b"start"
                assert (revokes[task_id][0], ran) in {(b"running", True), (b"revoked", False)}
                wins["ran" if ran else "revoked"] += 1

    assert min(wins.values()) > TRIES // 20, wins


async def test_a_revoke_without_rabbitmq_works(watching, issue):
    assert (await revoke(watching, issue()))[0] == 202


async def test_a_terminate_without_rabbitmq_is_refused(watching, issue, worker):
    task_id = issue()
    await worker.start(task_id)
    status, body = await revoke(watching, task_id, "?terminate=true")

    assert (status, body["code"]) == (503, "broker-unavailable")


async def test_watchers_of_ten_sockets_are_told_of_a_revoke(watching, issue):
    task_id = issue()
    sockets = [await watching.ws_connect(f"/v1/stream?ids={task_id}") for _ in range(10)]
    for ws in sockets:
        await Stream(ws).next()
    await revoke(watching, task_id)

    assert [(await Stream(ws).next())["state"] for ws in sockets] == ["REVOKED"] * 10
    for ws in sockets:
        await ws.close()
