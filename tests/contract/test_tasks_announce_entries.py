"""The catalog seam: the bytes that a worker announces, read by the gateway's own code."""

import json
import time

import pytest

from gateway.errors import Problem
from gateway.publishing.catalog import CATALOG_KEY as GATEWAY_KEY
from gateway.publishing.catalog import MAX_AGE_S, Catalog
from tasks.announce import CATALOG_KEY, REFRESH_S, VERSION, encode
from tasks.registry import TASKS
from tasks.runtime import TaskContext
from tasks.signatures import describe


@pytest.fixture
def catalog() -> Catalog:
    now = time.time()
    described = [describe(spec.name, spec.run, TaskContext, VERSION) for spec in TASKS]
    found = {one.field.encode(): encode(one, now).encode() for one in described}
    catalog = Catalog()
    catalog.take(found, now)
    return catalog


def test_both_sides_name_the_same_key_and_an_entry_survives_two_missed_refreshes():
    assert CATALOG_KEY == GATEWAY_KEY
    assert MAX_AGE_S >= 3 * REFRESH_S


def test_the_entry_is_this_text():
    def add(x: int, y: int = 2) -> int:
        """Return the sum."""
        return x + y

    described = describe("demo.add", add, TaskContext, "0.1.0")

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


def test_the_gateway_knows_which_tasks_can_be_stopped(catalog: Catalog):
    assert catalog.terminable("scripts.run") is True
    assert catalog.terminable("demo.add") is False
