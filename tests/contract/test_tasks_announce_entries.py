"""The catalog seam: the bytes that a worker announces, read by the gateway's own code."""

import json
import time

import pytest

from gateway.errors import Problem
from gateway.submitting.catalog import Catalog
from gateway.submitting.worker_records import WorkerRecords
from penstock import VERSION
from penstock.wire.announcements import (
    CATALOG_MAX_AGE_S,
    CATALOG_REFRESH_S,
    KNOWN_FOR_S,
    WORKER_MAX_AGE_S,
    WORKER_REFRESH_S,
    WorkerRecord,
    decode_worker,
)
from penstock.worker.consuming.announce import encode
from penstock.worker.consuming.signatures import describe
from penstock.worker.running.task_function import TaskFunction
from tasks.registry import TASKS


@pytest.fixture
def catalog() -> Catalog:
    now = time.time()
    described = [
        describe(spec.name, TaskFunction.of(spec.run, takes_self=False), VERSION) for spec in TASKS
    ]
    found = {one.field.encode(): encode(one, now).encode() for one in described}
    catalog = Catalog()
    catalog.take(found, now)
    return catalog


def test_an_entry_and_a_record_survive_two_missed_refreshes():
    assert CATALOG_MAX_AGE_S >= 3 * CATALOG_REFRESH_S
    assert WORKER_MAX_AGE_S >= 3 * WORKER_REFRESH_S


RECORD = WorkerRecord(
    worker="celery@w1", start="a1", queues=("default",), tasks=("demo.add",), seen=1000.5
)


def test_the_record_of_a_worker_is_this_text_and_members_of_later_releases_are_ignored():
    text = (
        '{"worker":"celery@w1","start":"a1","queues":["default"],"tasks":["demo.add"],'
        '"seen":1000.5,"consuming":true,"counts":{"slots":0,"busy":0,"lost":0,"blocked":0,'
        '"processed":0},"pool":"","software":"","left":false}'
    )

    assert (RECORD.field, RECORD.encode()) == ("celery@w1\na1", text)
    assert decode_worker(text.replace("{", '{"later":1,', 1).encode()) == RECORD
    for bad in ("5", "{}", '{"worker":1}', "[]", text[:-1]):
        with pytest.raises(ValueError, match="not the record of a worker"):
            decode_worker(bad)


def test_a_task_stays_known_for_ten_minutes_and_a_consumer_while_its_worker_lives():
    records = WorkerRecords()

    def at(later_s: float, *other: WorkerRecord) -> tuple[set[str], dict[str, int]]:
        written = {one.field.encode(): one.encode().encode() for one in (RECORD, *other)}
        records.take({**written, b"bad": b"{"}, RECORD.seen + later_s)
        return set(records.known.get("demo.add", ())), dict(records.consumers)

    assert at(WORKER_MAX_AGE_S) == ({"default"}, {"default": 1})
    assert at(WORKER_MAX_AGE_S + 1) == ({"default"}, {})
    assert at(KNOWN_FOR_S) == ({"default"}, {})
    assert at(KNOWN_FOR_S + 1) == (set(), {})
    leaving = WorkerRecord(
        worker="b@w2", start="b2", queues=("default", "x"), tasks=("t",), seen=1000
    ).at(RECORD.seen, None)
    assert at(0, leaving) == ({"default"}, {"default": 1})


def test_the_entry_is_this_text():
    def add(x: int, y: int = 2) -> int:
        """Return the sum."""
        return x + y

    described = describe("demo.add", TaskFunction.of(add, takes_self=False), "0.1.0")

    assert described.field == "demo.add\n867da558c417"
    assert encode(described, 1_700_000_000.25) == (
        '{"task":"demo.add","doc":"Return the sum.","version":"0.1.0","coroutine":false,"params":['
        '{"name":"x","kind":"positional_or_keyword","required":true,"schema":{"type":"integer"}},'
        '{"name":"y","kind":"positional_or_keyword","required":false,"schema":{"type":"integer"},'
        '"default":2}],"returns":{"type":"integer"},"seen":1700000000.25}'
    )


def test_the_gateway_understands_every_registered_task(catalog: Catalog):
    assert catalog.tasks == tuple(sorted(spec.name for spec in TASKS))


@pytest.mark.parametrize(
    ("task", "args", "kwargs"),
    [
        ("demo.add", [1, 2], {}),
        ("demo.add", [1], {"y": 2}),
        ("demo.sleep", [1], {}),
        ("demo.progress", [3], {"delay_s": 0.5}),
        ("scripts.run", ["hello.sh"], {}),
        ("scripts.run", ["hello.sh", ["a", "b"], 5], {}),
        ("scripts.run", [], {"script": "hello.sh", "arguments": None, "timeout_s": 1.5}),
        ("documents.store", ["papers", [{"_id": "1", "a": [1]}]], {}),
        ("periodic.heartbeat", [], {}),
    ],
)
def test_arguments_that_fit_are_let_through(catalog: Catalog, task, args, kwargs):
    catalog.check(task, json.dumps(args).encode(), json.dumps(kwargs).encode())


@pytest.mark.parametrize(
    ("task", "args", "kwargs", "at"),
    [
        ("demo.add", [1, "2"], {}, "$.args[1]"),
        ("demo.add", [1], {}, "$.kwargs.y"),
        ("demo.add", [1, 2, 3], {}, "$.args[2]"),
        ("demo.add", [1, 2], {"z": 3}, "$.kwargs.z"),
        ("scripts.run", ["hello.sh", [1]], {}, "$.args[1]"),
        ("scripts.run", ["hello.sh", "a"], {}, "$.args[1]"),
        ("documents.store", ["papers", [5]], {}, "$.args[1]"),
        ("periodic.heartbeat", [1], {}, "$.args[0]"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_by_position(
    catalog: Catalog, task, args, kwargs, at
):
    with pytest.raises(Problem) as refused:
        catalog.check(task, json.dumps(args).encode(), json.dumps(kwargs).encode())

    assert refused.value.code == "invalid-arguments"
    assert refused.value.faults[0].at.startswith(at)


def test_the_gateway_knows_which_tasks_are_coroutines(catalog: Catalog):
    assert [entry.coroutine for entry in catalog.announced("scripts.run")] == [True]
    assert [entry.coroutine for entry in catalog.announced("demo.add")] == [False]
