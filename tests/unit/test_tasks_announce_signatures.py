"""From functions to what is announced of them."""

import tomllib
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Optional, Union

import pytest

from penstock import VERSION
from penstock.describe import schema
from penstock.worker.consuming.signatures import describe
from penstock.worker.running.context import TaskContext
from penstock.worker.running.task_function import TaskFunction
from tasks.registry import TASKS


class Colour(Enum):
    """A type whose members JSON has no word for."""

    RED = "red"


class Other:
    """A type that JSON Schema has no word for."""


HINTS: list[tuple[Any, dict[str, Any]]] = [
    (int, {"type": "integer"}),
    (float, {"type": "number"}),
    (str, {"type": "string"}),
    (bool, {"type": "boolean"}),
    (None, {"type": "null"}),
    (type(None), {"type": "null"}),
    (list, {"type": "array"}),
    (dict, {"type": "object"}),
    (list[int], {"type": "array", "items": {"type": "integer"}}),
    (list[Any], {"type": "array", "items": {}}),
    (dict[str, float], {"type": "object", "additionalProperties": {"type": "number"}}),
    (int | None, {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
    (
        Optional[str],  # noqa: UP045  # the old way is another type at run time
        {"anyOf": [{"type": "string"}, {"type": "null"}]},
    ),
    (
        Union[int, str],  # noqa: UP007
        {"anyOf": [{"type": "integer"}, {"type": "string"}]},
    ),
    (Literal["a", 2], {"enum": ["a", 2]}),
    (Literal[Colour.RED], {}),
    (Literal[b"a", "a"], {}),
    (Annotated[int, "unit: s"], {"type": "integer"}),
    (Any, {}),
    (Other, {}),
    (dict[int, str], {}),
    (tuple[int, ...], {}),
]


@pytest.mark.parametrize(("hint", "expected"), HINTS)
def test_a_hint_is_told_as_json_schema(hint, expected):
    assert schema(hint) == expected


async def sample(
    context: TaskContext[Any], first, /, x: int, y: float = 0.5, *rest: str, flag: bool, **more: Any
) -> list[int]:
    """Do it.

    Well.
    """
    return [x, len(more), *map(len, rest), context.retries, first, int(y), flag]


def plain(x: int, y: Any = Other) -> None:
    """Do nothing."""


def test_parameters_are_told_with_kind_default_and_whether_they_are_required():
    entry = describe("a.sample", TaskFunction.of(sample, takes_self=False), "9").entry

    assert entry == {
        "task": "a.sample",
        "doc": "Do it.\n\nWell.",
        "version": "9",
        "coroutine": True,
        "params": [
            {"name": "first", "kind": "positional_only", "required": True, "schema": {}},
            {
                "name": "x",
                "kind": "positional_or_keyword",
                "required": True,
                "schema": {"type": "integer"},
            },
            {
                "name": "y",
                "kind": "positional_or_keyword",
                "required": False,
                "schema": {"type": "number"},
                "default": 0.5,
            },
            {
                "name": "rest",
                "kind": "var_positional",
                "required": False,
                "schema": {"type": "string"},
            },
            {
                "name": "flag",
                "kind": "keyword_only",
                "required": True,
                "schema": {"type": "boolean"},
            },
            {"name": "more", "kind": "var_keyword", "required": False, "schema": {}},
        ],
        "returns": {"type": "array", "items": {"type": "integer"}},
    }


def test_a_default_that_json_cannot_hold_is_left_out():
    params = describe("a.plain", TaskFunction.of(plain, takes_self=False), "9").entry["params"]

    assert params[1] == {
        "name": "y",
        "kind": "positional_or_keyword",
        "required": False,
        "schema": {},
    }


def test_the_field_changes_with_the_schema_and_with_nothing_else():
    def doc_changed(x: int, y: Any = Other) -> None:
        """Do nothing, told otherwise."""

    def schema_changed(x: str, y: Any = Other) -> None:
        """Do nothing."""

    field = describe("a.plain", TaskFunction.of(plain, takes_self=False), "9").field

    assert describe("a.plain", TaskFunction.of(doc_changed, takes_self=False), "10").field == field
    assert (
        describe("a.plain", TaskFunction.of(schema_changed, takes_self=False), "9").field != field
    )
    task, _, digest = field.partition("\n")
    assert task == "a.plain"
    assert len(bytes.fromhex(digest)) == 6


@pytest.mark.parametrize("spec", TASKS, ids=[spec.name for spec in TASKS])
def test_every_registered_task_has_a_doc_and_hints_for_all_its_parameters(spec):
    entry = describe(spec.name, TaskFunction.of(spec.run, takes_self=False), VERSION).entry

    assert entry["doc"]
    assert all(parameter["schema"] for parameter in entry["params"])
    assert "context" not in {parameter["name"] for parameter in entry["params"]}


def test_the_version_is_the_package_s():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]

    assert project["version"] == VERSION
