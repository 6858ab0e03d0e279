"""When a worker is online, silent or gone; what counts where two sources know a name."""

from typing import Any

import pytest

from gateway.operating.fleet import StockWorker, workers
from gateway.operating.tasks import arguments_schema, names_by_place
from penstock.wire.announcements import (
    RUNNING_MOST,
    RunningTask,
    SlotCounts,
    WorkerRecord,
    decode_running,
    decode_worker,
    encode_running,
)

NOW = 1_000_000.0


def record(seen: float, **fields: Any) -> WorkerRecord:
    counts = SlotCounts(slots=4, busy=2, processed=9)
    return WorkerRecord(
        worker="w", start="1", queues=("q",), tasks=(), seen=seen, counts=counts, **fields
    )


@pytest.mark.parametrize(
    ("silent_s", "left", "status", "running"),
    [
        (0, False, "online", 2),
        (15, False, "online", 2),
        (15.1, False, "silent", 2),
        (600, False, "silent", 2),
        (601, False, "gone", 0),
        (0, True, "gone", 0),
    ],
)
def test_silence_and_leave_decide_the_status(silent_s, left, status, running):
    [one] = workers({"w": record(NOW - silent_s, left=left)}, [], NOW)
    [stock] = workers(
        {}, [StockWorker(name="s", heard_at=NOW - silent_s, left=left, running=2)], NOW
    )

    assert (one.status, one.running) == (stock.status, stock.running) == (status, running)


def test_what_announces_itself_counts_before_what_events_show():
    heard = [StockWorker(name="w", heard_at=NOW), StockWorker(name="a", heard_at=NOW)]

    found = workers({"w": record(NOW)}, heard, NOW)

    assert [(one.name, one.announces) for one in found] == [("a", False), ("w", True)]
    assert found[1].processed == 9


def test_a_record_of_a_release_before_says_neither_pool_nor_leave():
    text = record(NOW).encode().replace('"pool":"",', "").replace(',"left":false', "")

    found = decode_worker(text)

    assert (found.pool, found.software, found.left) == ("", "", False)


def test_of_very_many_running_tasks_those_that_began_first_are_listed():
    tasks = [
        RunningTask(task_id=str(n), task="t", start=float(-n), queue=None)
        for n in range(RUNNING_MOST + 1)
    ]

    found = decode_running(encode_running(tasks))

    assert len(found) == RUNNING_MOST
    assert found[0] == tasks[-1]
    with pytest.raises(ValueError, match="not what a worker runs"):
        decode_running("[1]")


def test_arguments_are_a_schema_by_name():
    integer = {"type": "integer"}
    params = [
        {"name": "x", "kind": "positional_or_keyword", "required": True, "schema": integer},
        {"name": "rest", "kind": "var_positional", "required": False, "schema": {}},
        {"name": "k", "kind": "keyword_only", "required": False, "schema": {}, "default": 1},
        {"name": "more", "kind": "var_keyword", "required": False, "schema": integer},
    ]

    assert names_by_place(params) == ("x",)
    assert arguments_schema(params) == {
        "type": "object",
        "properties": {"x": integer, "k": {"default": 1}},
        "required": ["x"],
        "additionalProperties": integer,
    }
