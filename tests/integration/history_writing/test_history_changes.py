"""Changes of state, written by the workers' own scripts, in MongoDB."""

import uuid

import pytest

from history.sources.records import TOO_LONG
from penstock.wire.keys import HISTORY_CHANGES
from penstock.wire.records import error_record


async def test_a_task_that_starts_and_succeeds_is_kept_with_both_changes(history, worker, kept):
    task_id = str(uuid.uuid4())
    await worker.start(task_id)
    await kept.until(task_id, state="STARTED")
    await worker.store(task_id, "SUCCESS", 5)

    task = await kept.until(task_id, state="SUCCESS")

    assert [change["state"] for change in task["changes"]] == ["STARTED", "SUCCESS"]
    assert task["task"] == "demo.test"
    assert task["ended_at"] >= task["started_at"]
    assert task["root"] == task_id
    assert task["source"] == "penstock"


async def test_every_attempt_and_progress_is_in_the_timeline(history, worker, kept):
    task_id = str(uuid.uuid4())
    await worker.start(task_id)
    for step in range(5):
        await worker.store(task_id, "PROGRESS", {"current": step, "total": 5, "message": "on"})
    await worker.store(task_id, "RETRY", error_record("OSError", "away", "builtins"))
    await kept.until(task_id, state="RETRY")
    await worker.start(task_id)
    await worker.store(
        task_id, "FAILURE", error_record("ValueError", "bad row 7", "builtins"), traceback="Tr…"
    )

    task = await kept.until(task_id, state="FAILURE")

    states = [change["state"] for change in task["changes"]]
    assert states == ["STARTED", "PROGRESS", "RETRY", "STARTED", "FAILURE"]
    assert task["changes"][1]["progress"] == {"current": 4, "total": 5, "message": "on"}
    assert task["changes"][2]["error"] == {"type": "OSError", "message": "away"}
    assert task["error"] == {"type": "ValueError", "message": "bad row 7", "traceback": "Tr…"}
    assert {"valueerror", "bad", "row", "7"} <= set(task["words"])
    assert len(task["failure"]) == 16


async def test_records_that_are_none_hold_nothing_up(history, worker, kept):
    broken = [
        '{"cursor":"x-y","status":"SUCCESS"}',
        '{"cursor":"1-0","status":["SUCCESS"],"retries":1e400,"result":{"exc_type":[{}]}}',
        '{"cursor":"999999999999999-0","status":"FAILURE","name":5,"result":[]}',
        "no json",
        '{"cursor":"5-0","status":"\\ud800","name":"a\\u0000b","result":null}',
    ]
    for number, text in enumerate(broken):
        name = f"celery-task-meta-broken-{number}"
        await worker.client.set(name, text)
        await worker.client.xadd(HISTORY_CHANGES, {"k": name})
    await worker.client.xadd(HISTORY_CHANGES, {"other": b"\xff"})
    await worker.client.lpush("celery-task-meta-list", "1")
    await worker.client.xadd(HISTORY_CHANGES, {"k": "celery-task-meta-list"})
    task_id = str(uuid.uuid4())
    await worker.start(task_id)

    await kept.until(task_id, state="STARTED")


@pytest.mark.parametrize(
    ("length", "traceback", "message"),
    [
        (100_000, "T", "x" * 4096),
        (100_000, "ü" * 60_000, "x" * 4096),
        (600_000, "T", TOO_LONG),
        (10, "ü" * 400_000, TOO_LONG),
    ],
)
async def test_an_error_however_long_is_kept_and_counted(
    history, worker, kept, length, traceback, message
):
    task_id = str(uuid.uuid4())
    await worker.start(task_id)
    error = error_record("ValueError", "x" * length, "builtins")
    await worker.store(task_id, "FAILURE", error, traceback=traceback)

    task = await kept.until(task_id, state="FAILURE")

    behind = len(traceback) > 100_000  # where not even its type is read
    assert task["error"]["type"] == ("Exception" if behind else "ValueError")
    assert task["error"]["message"] == message
    assert task["changes"][-1]["error"]["message"] == message[:500]
    assert task["failure"]
