"""Which canvases workers can carry out, by how deep their chords go."""

import json
from typing import Any

import pytest

from gateway.canvas.canvas import line_of
from gateway.canvas.canvas_depth import check_depth
from gateway.canvas.canvas_request import MAX_AT_ONCE, MAX_CHORDS, parse_canvas
from gateway.errors import Problem
from tests.support.canvases import add, in_headers, row


def refused(canvas: dict[str, Any], *, apps: bool = False) -> str | None:
    """Where a canvas is refused."""
    line = line_of(parse_canvas(json.dumps(canvas).encode()))
    try:
        check_depth(line, apps=apps)
    except Problem as problem:
        return problem.faults[0].at
    return None


@pytest.mark.parametrize("groups", [MAX_CHORDS + 2, 200, 700, 4_999])
def test_groups_in_a_row_have_a_bound(groups: int):
    assert refused(row(groups)) == f"$.chain[{groups - MAX_CHORDS - 2}]"


def test_groups_in_a_row_up_to_the_bound_and_tasks_between_them_are_taken():
    parted = {"chain": [row(MAX_CHORDS, add(1)), *row(MAX_CHORDS, add(1))["chain"]]}

    assert refused(row(MAX_CHORDS + 1)) is None
    assert refused(parted) is None


def test_rows_add_up_wherever_one_stands_inside_the_other():
    half = row(MAX_CHORDS // 2, add(1))
    inside = {
        "header": {"chord": {"header": [half], "body": row(MAX_CHORDS // 2 + 1)}},
        "body": {"chord": {"header": [add(1)], "body": row(MAX_CHORDS + 1)}},
        "link": row(MAX_CHORDS // 2, add(1, link=[row(MAX_CHORDS // 2 + 1)])),
        "link_error": row(MAX_CHORDS // 2, add(1, link_error=[row(MAX_CHORDS // 2 + 1)])),
    }

    assert [name for name, canvas in inside.items() if refused(canvas) is None] == []


def test_what_a_worker_publishes_at_once_has_a_bound():
    assert refused(in_headers(31)) is None  # the gateway publishes what comes first
    assert refused({"chain": [add(1, 2), in_headers(MAX_AT_ONCE)]}) is None
    assert refused({"chain": [add(1, 2), in_headers(MAX_AT_ONCE + 1)]}) == "$.chain[1].chord.header"
    assert refused(add(1, 2, link=in_headers(MAX_AT_ONCE + 1))) == "$.link.chord.header"


def test_what_old_versions_copy_has_a_bound_where_an_app_consumes():
    assert refused(row(10), apps=True) is None
    assert refused({"chain": [add(1), {"group": [add(1)] * 9_998}, add(1)]}, apps=True) is None
    assert refused(row(11), apps=True) == "$.chain[1]"
    assert refused({"chain": [{"group": [add(1)] * 100}] * 4}, apps=True) == "$.chain[1]"
    assert refused({"chain": [{"group": [add(1)] * 100}] * 4}) is None
