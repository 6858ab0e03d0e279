"""The catalog entry: what the worker's code announces is what the gateway's code checks by."""

import json
import time
from collections.abc import Callable
from typing import Any, Literal

import pytest

from gateway.errors import Problem
from gateway.submitting.catalog import Catalog
from penstock.worker.consuming.signatures import Described, describe
from penstock.worker.running.context import TaskContext
from penstock.worker.running.task_function import TaskFunction
from tasks.registry import TASKS


def announced(*described: Described, seen: float | None = None) -> Catalog:
    catalog = Catalog()
    now = time.time()
    catalog.take(
        {
            one.field.encode(): json.dumps({**one.entry, "seen": seen or now}).encode()
            for one in described
        },
        now,
    )
    return catalog


def one(run: Callable[..., Any]) -> Catalog:
    return announced(describe("t", TaskFunction.of(run, takes_self=False), "1"))


def faults(catalog: Catalog, args: Any = (), kwargs: Any = None, task: str = "t") -> list[str]:
    try:
        catalog.check(task, json.dumps(list(args)).encode(), json.dumps(kwargs or {}).encode())
    except Problem as problem:
        return [fault.at for fault in problem.faults]
    return []


def add(x: int, y: int) -> int:
    return x + y


def many(
    day: str,
    factor: float = 1.0,
    *rest: int,
    kind: Literal["a", "b"] = "a",
    tags: list[str] | None = None,
    limits: dict[str, int] | None = None,
    **more: bool,
) -> None:
    del day, factor, rest, kind, tags, limits, more


async def injected(context: TaskContext[Any], steps: int, unknown=None) -> int:
    del context, unknown
    return steps


def test_plain_parameters_are_checked():
    assert faults(one(add), [1, 2]) == []
    assert faults(one(add), [1], {"y": 2}) == []
    assert faults(one(add), ["1", 2.5]) == ["$.args[0]", "$.args[1]"]
    assert faults(one(add), [1]) == ["$.kwargs.y"]
    assert faults(one(add), [1, 2, 3]) == ["$.args[2]"]
    assert faults(one(add), [1, 2], {"z": 1}) == ["$.kwargs.z"]


def test_every_kind_of_parameter_is_checked():
    catalog = one(many)
    good = {"kind": "b", "tags": ["x"], "limits": {"a": 1}, "flag": True}

    assert faults(catalog, ["2026-01-31", 2, 3, 4], good) == []
    assert faults(catalog, ["d"], {"tags": None, "limits": None}) == []
    assert faults(catalog, ["d", 1, "x"]) == ["$.args[2]"]
    assert faults(catalog, ["d"], {"kind": "c"}) == ["$.kwargs.kind"]
    assert faults(catalog, ["d"], {"tags": ["x", 1]}) == ["$.kwargs.tags[1]"]
    assert faults(catalog, ["d"], {"flag": "yes"}) == ["$.kwargs.flag"]
    assert faults(catalog, [], {"factor": "x"}) == ["$.kwargs.factor", "$.kwargs.day"]


def test_the_injected_context_is_no_parameter_and_what_has_no_hint_takes_anything():
    catalog = one(injected)

    assert faults(catalog, [3]) == []
    assert faults(catalog, [3, {"any": ["thing"]}]) == []
    assert faults(catalog, ["3"]) == ["$.args[0]"]
    assert [entry.coroutine for entry in catalog.announced("t")] == [True]
    assert [entry.coroutine for entry in one(add).announced("t")] == [False]


def test_two_releases_side_by_side_are_two_entries():
    def add_text(x: str) -> None: ...

    catalog = announced(
        describe("t", TaskFunction.of(add, takes_self=False), "1"),
        describe("t", TaskFunction.of(add_text, takes_self=False), "2"),
    )

    assert len(catalog.announced("t")) == 2
    assert faults(catalog, [1, 2]) == []
    assert faults(catalog, ["a"]) == []
    assert faults(catalog, [None])


@pytest.mark.parametrize("spec", TASKS, ids=lambda spec: spec.name)
def test_every_task_that_ships_can_be_announced_and_checked(spec):
    catalog = announced(describe(spec.name, TaskFunction.of(spec.run, takes_self=False), "1"))

    assert catalog.tasks == (spec.name,)
    assert isinstance(faults(catalog, [], {}, spec.name), list)
    assert faults(catalog, [], {"no such parameter": 1}, spec.name)
