"""The header names that clients may not use are those that the installed libraries know."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from devstack.reserved_headers import derive
from gateway.canvas.canvas_request import parse_canvas
from gateway.errors import Problem
from gateway.schedules.schedule_request import parse_schedule
from gateway.submitting.task_request import parse
from penstock.wire.headers import OTHERS, is_reserved
from penstock.wire.reserved_names import RESERVED_NAMES


def test_no_name_of_the_installed_libraries_is_missing():
    missing = derive() - RESERVED_NAMES

    assert not missing, "python -m devstack.reserved_headers writes them down"


@pytest.mark.parametrize(
    "form", [str, str.upper, str.title, lambda name: name.replace("_", "-"), "_{}".format]
)
def test_each_name_is_reserved_however_it_is_written(form: Callable[[str], str]):
    assert all(is_reserved(form(name)) for name in {*RESERVED_NAMES, *OTHERS})


@pytest.mark.parametrize("name", ["tenant", "color", "a", "request_id", "app_version", "é", "xy"])
def test_other_names_are_the_clients_own(name: str):
    assert not is_reserved(name)


TASK: dict[str, Any] = {"task": "demo.add", "args": [1, 2]}


def _submit(name: str) -> None:
    parse(json.dumps({**TASK, "options": {"headers": {name: 1}}}).encode())


def _canvas(name: str) -> None:
    linked = {**TASK, "link": {**TASK, "options": {"headers": {name: 1}}}}
    parse_canvas(json.dumps({"chord": {"header": [linked], "body": TASK}}).encode())


def _schedule(name: str) -> None:
    body = {**TASK, "every": 5.0, "options": {"headers": {name: 1}}}
    parse_schedule(json.dumps(body).encode())


@pytest.mark.parametrize("send", [_submit, _canvas, _schedule])
@pytest.mark.parametrize(
    "name", ["_children", "__class__", "headers", "Compression", "called-directly", "x-death", "CC"]
)
def test_a_reserved_header_is_refused_wherever_headers_are_taken(
    send: Callable[[str], None], name: str
):
    with pytest.raises(Problem) as refused:
        send(name)

    assert refused.value.code == "invalid-request"
    assert refused.value.faults[0].at.endswith(f"options.headers.{name}")
    send("tenant")
