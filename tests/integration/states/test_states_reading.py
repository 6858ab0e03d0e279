"""GET /v1/tasks/{id} and its result, against a real Redis."""

import json
import time

import pytest

from gateway.access.task_id import TaskIds
from gateway.api import parts
from penstock.wire.keys import TaskKeys
from tests.support.states_seen import show


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
    await worker.client.set(TaskKeys.of(task_id).revoked, "1")

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
