"""GET /v1/tasks/{id}, its result, batch status and long polls, against a real Redis."""

import asyncio
import json
import signal
import time

import pytest

from devstack.proxy import TcpProxy
from gateway.access.task_id import TaskIds, claims
from gateway.api import parts
from gateway.cancellation import stop
from gateway.states.states import READ_BUDGET_BYTES
from gateway.telemetry.metrics import Metrics
from gateway.watching.counts import Counts
from gateway.watching.watch import Watch
from tests.waiting import eventually

_STOP, _CONTINUE = signal.SIGSTOP, signal.SIGCONT


async def show(client, task_id, query=""):
    response = await client.get(f"/v1/tasks/{task_id}{query}")
    return response.status, await response.json()


async def test_an_issued_id_without_record_is_pending(watching, issue):
    task_id = issue()
    status, body = await show(watching, task_id)

    assert status == 200
    assert set(body) == {"id", "state", "accepted_at"}
    assert (body["id"], body["state"]) == (task_id, "PENDING")
    assert body["accepted_at"].endswith("Z")
    assert len(body["accepted_at"]) == len("2026-01-31T10:00:00.000Z")


@pytest.mark.parametrize("task_id", ["x", "0" * 57, "a b", "ü", "x" * 2000])
async def test_an_id_that_nobody_issued_is_unknown(make_keyed_gateway, task_id):
    client = await make_keyed_gateway()
    response = await client.get(f"/v1/tasks/{task_id}", headers=client.as_("reader"))

    assert response.status == 404
    assert (await response.json())["code"] == "unknown-task-id"


async def test_another_tenants_id_is_unknown_but_to_admin(make_keyed_gateway):
    client = await make_keyed_gateway()
    task_id = client.app[parts.ACCESS].task_ids.issue("other")
    mine = await client.get(f"/v1/tasks/{task_id}", headers=client.as_("reader"))
    admins = await client.get(f"/v1/tasks/{task_id}", headers=client.as_("root"))

    assert mine.status == 404
    assert admins.status == 200
    assert (await admins.json())["state"] == "PENDING"


async def test_ids_of_other_publishers_are_admins_once_redis_knows_them(make_keyed_gateway, worker):
    client = await make_keyed_gateway()
    foreign = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
    before = await client.get(f"/v1/tasks/{foreign}", headers=client.as_("root"))
    await worker.stock(foreign, "SUCCESS", 7)
    after = await client.get(f"/v1/tasks/{foreign}", headers=client.as_("root"))
    others = await client.get(f"/v1/tasks/{foreign}", headers=client.as_("reader"))

    assert [before.status, after.status, others.status] == [404, 200, 404]
    body = await after.json()
    assert (body["state"], body["result"]) == ("SUCCESS", 7)
    assert "accepted_at" not in body


async def test_a_final_state_has_all_that_is_known(watching, issue, worker):
    task_id = issue()
    await worker.start(task_id)
    await worker.succeed(task_id, {"a": [1, 2.5, None]})
    _, body = await show(watching, task_id)

    assert body | {"accepted_at": 0, "started_at": 0, "finished_at": 0} == {
        "id": task_id, "task": "demo.test", "state": "SUCCESS", "accepted_at": 0, "started_at": 0,
        "finished_at": 0, "retries": 0, "worker": "celery@w1", "result": {"a": [1, 2.5, None]},
    }  # fmt: skip
    assert body["accepted_at"] <= body["started_at"] <= body["finished_at"]


async def test_a_failure_shows_its_error_and_the_traceback_to_admin_only(
    make_keyed_gateway, worker
):
    client = await make_keyed_gateway()
    task_id = client.app[parts.ACCESS].task_ids.issue("acme")
    await worker.fail(task_id, "bad day")
    mine = await (await client.get(f"/v1/tasks/{task_id}", headers=client.as_("reader"))).json()
    admins = await (await client.get(f"/v1/tasks/{task_id}", headers=client.as_("root"))).json()

    assert mine["error"] == {"type": "ValueError", "message": "bad day"}
    assert admins["error"]["traceback"] == "Traceback: secret line"
    assert "result" not in mine


@pytest.mark.parametrize(
    ("state", "result", "shown"),
    [
        ("RETRY", {"exc_type": "E", "exc_message": ["a", 1], "exc_module": "m"},
         {"error": {"type": "E", "message": "a, 1"}}),
        ("RETRY", {"exc_type": "E", "exc_message": "text", "exc_module": "m"},
         {"error": {"type": "E", "message": "text"}}),
        ("RETRY", {"exc_type": "A.E", "exc_message": ["k"], "exc_module": "m",
                   "type": "E", "text": "'k'"},
         {"error": {"type": "E", "message": "'k'"}}),
        ("FAILURE", "by hand", {"error": {"type": "Exception", "message": "by hand"}}),
        ("UPLOADING", {"done": 3}, {"progress": {"done": 3}}),
        ("UPLOADING", 3, {}),
        ("STARTED", {"pid": 1, "hostname": "celery@h"}, {"worker": "celery@h"}),
        ("FAILURE", None, {}),
        ("SUCCESS", None, {"result": None}),
    ],
)  # fmt: skip
async def test_what_stock_workers_store_is_told(watching, issue, worker, state, result, shown):
    task_id = issue()
    await worker.stock(task_id, state, result)
    status, body = await show(watching, task_id)

    assert status == 200
    assert body["state"] == state
    known = {"id", "state", "accepted_at", "finished_at"}
    assert {name: value for name, value in body.items() if name not in known} == shown


async def test_results_that_are_no_strict_json_are_read_all_the_same(watching, issue, worker):
    task_id = issue()
    record = {"status": "SUCCESS", "result": [float("nan"), 1], "task_id": task_id, "retries": "x"}
    await worker.client.set(f"celery-task-meta-{task_id}", json.dumps(record))

    assert (await show(watching, task_id))[1]["result"] == [None, 1]


@pytest.mark.parametrize(
    "record", [b"\x80\x04garbage", b"[]", b'{"status": 1}', b"{}", b"[" * 90_000]
)
async def test_a_record_that_is_no_record_is_an_error(watching, issue, worker, record):
    task_id = issue()
    await worker.client.set(f"celery-task-meta-{task_id}", record)
    status, body = await show(watching, task_id)

    assert (status, body["code"]) == (500, "internal-error")


async def test_an_ended_task_without_record_is_expired(watching, issue, worker):
    task_id = issue()
    await worker.succeed(task_id)
    await worker.client.delete(f"celery-task-meta-{task_id}")
    status, body = await show(watching, task_id)
    result = await watching.get(f"/v1/tasks/{task_id}/result")

    assert (status, body["code"]) == (410, "result-expired")
    assert result.status == 410


@pytest.mark.parametrize(
    ("age_days", "delay_s", "status"), [(7.9, 0, 200), (8.1, 0, 410), (8.1, 86_400, 200)]
)
async def test_an_id_so_old_that_its_end_is_forgotten_is_expired(
    watching, issuer_at, age_days, delay_s, status
):
    task_id = issuer_at(time.time() - age_days * 86_400).issue("anonymous", delay_s=delay_s)

    assert (await show(watching, task_id))[0] == status


@pytest.fixture
def issuer_at():
    """Issue ids as of another time: the time is a part of the text, and signed."""
    keys = ((1, b"s" * 32),)

    class Past(TaskIds):
        def __init__(self, moment):
            super().__init__(keys)
            self._moment = moment

        def issue(self, tenant, **options):
            text = super().issue(tenant, **options)
            head = f"{int(self._moment * 1000):012x}"
            uuid = f"{head[:8]}-{head[8:]}{text[13:36]}"
            flags = text[37:41]
            mac = self._signing.copy()
            mac.update(f"{uuid}{flags}{tenant}".encode())
            return f"{uuid}-{flags}{mac.hexdigest()}"

    return Past


async def test_a_revoked_task_that_is_still_to_come_is_expired_and_not_pending(
    watching, issue, worker
):
    task_id = issue(delay_s=90 * 86_400)
    await worker.client.set(f"penstock:revoked:{task_id}", "1")

    assert (await show(watching, task_id))[0] == 410


async def test_untracked_tasks_are_told_as_such_even_without_redis(make_watching_gateway, issue):
    task_id = issue(tracked=False)
    client = await make_watching_gateway()
    status, body = await show(client, task_id)

    assert status == 200
    assert body == {"id": task_id, "tracked": False, "accepted_at": body["accepted_at"]}


async def test_results_are_answered_bare_and_byte_for_byte(watching, issue, worker):
    task_id = issue()
    raw = b'{"x": 1.000, "big": 123456789012345678901234567890, "s": "\\u00e9"}'
    await worker.client.set(
        f"celery-task-meta-{task_id}", b'{"status": "SUCCESS", "result": ' + raw + b"}"
    )
    response = await watching.get(f"/v1/tasks/{task_id}/result")

    assert response.status == 200
    assert response.content_type == "application/json"
    assert await response.read() == raw


async def test_a_result_of_8_mib_is_answered_whole(watching, issue, worker):
    task_id = issue()
    value = "y" * (8 * 1024 * 1024 - 300)
    await worker.succeed(task_id, value)
    response = await watching.get(f"/v1/tasks/{task_id}/result")

    assert await response.read() == b'"' + value.encode() + b'"'


async def test_a_result_that_is_not_there_yet_is_202(watching, issue, worker):
    task_id = issue()
    pending = await watching.get(f"/v1/tasks/{task_id}/result")
    await worker.start(task_id)
    started = await watching.get(f"/v1/tasks/{task_id}/result")

    assert [pending.status, started.status] == [202, 202]
    assert (await started.json())["state"] == "STARTED"


async def test_results_of_failed_and_revoked_tasks_are_409(watching, issue, worker):
    failed, revoked = issue(), issue()
    await worker.fail(failed, "bad day")
    await watching.delete(f"/v1/tasks/{revoked}")
    answers = [await watching.get(f"/v1/tasks/{i}/result") for i in (failed, revoked)]

    assert [answer.status for answer in answers] == [409, 409]
    bodies = [await answer.json() for answer in answers]
    assert [body["code"] for body in bodies] == ["task-failed", "task-revoked"]
    assert bodies[0]["error"] == {"type": "ValueError", "message": "bad day"}


async def test_many_states_are_read_in_one_round_trip_and_in_order(watching, issue, worker):
    ids = [issue() for _ in range(997)]
    for task_id in ids[::100]:
        await worker.succeed(task_id)
    untracked = issue(tracked=False)
    asked = [*ids, ids[0], untracked, "unknown id"]
    await worker.client.config_resetstat()
    response = await watching.post("/v1/tasks/status", json={"ids": asked})
    stats = await worker.client.info("commandstats")
    tasks = (await response.json())["tasks"]

    assert [task["id"] for task in tasks] == asked
    assert tasks[-1] == {"id": "unknown id", "code": "unknown-task-id"}
    assert tasks[-2]["tracked"] is False
    assert tasks[-3] == tasks[0]
    assert sum(task.get("state") == "SUCCESS" for task in tasks) == 11
    reads = sum(stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("evalsha", "eval"))
    assert reads <= 2  # the second when the script had to be loaded first


async def test_states_beyond_the_memory_budget_are_streamed(watching, issue, worker):
    ids = [issue() for _ in range(6)]
    value = "z" * (READ_BUDGET_BYTES // 4)
    for task_id in ids:
        await worker.succeed(task_id, value)
    response = await watching.post("/v1/tasks/status", json={"ids": [*ids, ids[0], "unknown"]})
    tasks = (await response.json())["tasks"]

    assert [task["id"] for task in tasks] == [*ids, ids[0], "unknown"]
    assert all(task["result"] == value for task in tasks[:7])
    assert response.headers["X-Request-Id"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("{", "malformed-json"),
        ("{}", "invalid-request"),
        ('{"ids": [1]}', "invalid-request"),
        ('{"ids": [], "x": 1}', "invalid-request"),
        (json.dumps({"ids": ["a"] * 1001}), "invalid-request"),
        (b'{"ids": ["\xff"]}', "malformed-json"),
    ],
)
async def test_bad_status_requests_are_refused(watching, body, code):
    headers = {"Content-Type": "application/json"}
    response = await watching.post("/v1/tasks/status", data=body, headers=headers)

    assert response.status == 400
    assert (await response.json())["code"] == code


@pytest.mark.parametrize("path", ["/v1/tasks/status", "/v1/tickets"])
async def test_questions_of_another_media_type_are_refused(watching, path):
    response = await watching.post(path, data='{"ids": []}')

    assert (response.status, (await response.json())["code"]) == (415, "unsupported-media-type")


async def test_a_long_poll_ends_with_the_task(watching, issue, worker):
    task_id = issue()
    poll = asyncio.create_task(show(watching, task_id, "?wait=30"))
    await eventually(lambda: len(watching.app[parts.WATCHING].watch.notices) == 1)
    await worker.start(task_id)
    await worker.succeed(task_id)

    async with asyncio.timeout(5):
        status, body = await poll
    assert (status, body["state"]) == (200, "SUCCESS")
    await eventually(lambda: len(watching.app[parts.WATCHING].watch.notices) == 0)


async def test_a_long_poll_ends_with_its_time(watching, issue):
    started = time.monotonic()
    _, body = await show(watching, issue(), "?wait=0.3")

    assert body["state"] == "PENDING"
    assert 0.25 < time.monotonic() - started < 3


async def test_a_long_poll_for_many_waits_for_all_of_them(watching, issue, worker):
    ids = [issue() for _ in range(300)]
    poll = asyncio.create_task(watching.post("/v1/tasks/status?wait=30", json={"ids": ids}))
    await eventually(lambda: len(watching.app[parts.WATCHING].watch.notices) == 300)
    for task_id in ids:
        assert not poll.done()
        await worker.succeed(task_id)

    async with asyncio.timeout(5):
        tasks = (await (await poll).json())["tasks"]
    assert all(task["state"] == "SUCCESS" for task in tasks)


@pytest.mark.parametrize("wait", ["-1", "61", "x", "", "1e1", "nan"])
async def test_a_bad_wait_is_refused(watching, issue, wait):
    status, body = await show(watching, issue(), f"?wait={wait}")

    assert (status, body["code"]) == (400, "invalid-request")


async def test_without_redis_reads_are_refused_promptly(redis_server, watching, issue):
    task_id = issue()
    await redis_server.kill()
    try:
        started = time.monotonic()
        responses = [
            await watching.get(f"/v1/tasks/{task_id}"),
            await watching.get(f"/v1/tasks/{task_id}?wait=30"),
            await watching.post("/v1/tasks/status", json={"ids": [task_id]}),
            await watching.get(f"/v1/tasks/{task_id}/stream"),
            await watching.delete(f"/v1/tasks/{task_id}"),
        ]
        took_s = time.monotonic() - started
    finally:
        await redis_server.start()

    assert [response.status for response in responses] == [503] * 5
    assert all(response.headers["Retry-After"] for response in responses)
    assert (await responses[0].json())["code"] == "state-unavailable"
    assert took_s < 10
    await eventually(lambda: _reads(watching, task_id))


async def _reads(client, task_id):
    return (await client.get(f"/v1/tasks/{task_id}")).status == 200


async def test_a_redis_that_hangs_is_given_up_within_seconds(redis_server, watching, issue):
    redis_server.child.signal(_STOP)
    try:
        started = time.monotonic()
        response = await watching.get(f"/v1/tasks/{issue()}")
        took_s = time.monotonic() - started
    finally:
        redis_server.child.signal(_CONTINUE)

    assert response.status == 503
    assert took_s < 6


async def test_a_wait_outlasts_notices_that_come_back_later_than_redis(
    watching, issue, worker, redis_server
):
    app, task_id = watching.app, issue()
    async with TcpProxy(redis_server.port) as proxy:
        proxy.cut(refuse=True)
        url = proxy.url_through(redis_server.url)
        watch = Watch(url, app[parts.REDIS], app[parts.STATES], Counts(Metrics(None)))
        notices = asyncio.create_task(watch.notices.looper.run())
        waiting = asyncio.create_task(watch.until_ended({task_id: claims(task_id)}, 30))
        done, _ = await asyncio.wait({waiting}, timeout=2)
        assert not done
        proxy.resume()
        await worker.succeed(task_id)

        async with asyncio.timeout(10):
            await waiting
        await stop(notices)


async def test_ended_tells_only_what_has_ended(watching, issue, worker):
    done, pending, untracked = issue(), issue(), issue(tracked=False)
    await worker.succeed(done)
    ended = await watching.app[parts.WATCHING].watch.ended([done, pending, untracked], 0.2)

    assert {task_id: state.state for task_id, state in ended.items()} == {done: "SUCCESS"}
    assert ended[done].result == b"42"
