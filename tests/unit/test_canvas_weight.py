"""What the chords of a canvas take in the messages that carry their bodies."""

import json
from typing import Any

import orjson
import pytest

from gateway.access.task_id import TaskIds
from gateway.canvas.canvas import Line, group_of, group_result, line_of
from gateway.canvas.canvas_request import GroupNode, Node, TaskNode, parse_canvas, walk
from gateway.canvas.canvas_weight import MAX_GROUP_BYTES, check_groups, check_weight
from gateway.errors import Problem
from tests.support.canvases import CANVASES, add, row, total
from tests.support.memory import most_held

MIB = 1024 * 1024


def tree(canvas: dict[str, Any]) -> Node:
    ids = TaskIds([(1, b"k" * 32)])
    root = parse_canvas(json.dumps(canvas).encode())
    for node in walk(root):
        if isinstance(node, GroupNode | TaskNode):
            node.id = ids.issue("t", group=isinstance(node, GroupNode))
    return root


def line(canvas: dict[str, Any]) -> Line:
    return line_of(tree(canvas))


def chord(header: list[Any], body: dict[str, Any]) -> dict[str, Any]:
    return {"chord": {"header": header, "body": body}}


def echo(size: int) -> dict[str, Any]:
    return {"task": "demo.echo", "kwargs": {"x": "y" * size}}


ONE = add(1, 2)
HEAVY: dict[str, dict[str, Any]] = {
    "a chord": chord([ONE] * 65, echo(MIB)),
    "behind a task": {"chain": [ONE, chord([ONE] * 65, echo(MIB))]},
    "in a link": add(1, 2, link=chord([ONE] * 65, echo(MIB))),
    "in an errback": {"chain": [add(1, 2, link_error=[chord([ONE] * 65, echo(MIB))]), ONE]},
    "a group, and a task behind it": {"chain": [ONE, {"group": [ONE] * 65}, echo(MIB)]},
    "what follows the body": {"chain": [ONE, chord([ONE] * 65, total()), echo(MIB)]},
    "several chords": {"chain": [ONE, *[chord([ONE] * 9, echo(MIB))] * 8]},
    "chords in a header": chord([chord([ONE], total())] * 33, echo(2 * MIB)),
    "chords of nothing in a header": chord(
        [chord([chord([], {"group": []})], total())] * 33, echo(2 * MIB)
    ),
    "chains in a header": chord([{"chain": [ONE, ONE]}] * 65, echo(MIB)),
    "groups at the ends of a header": chord([{"chain": [ONE, {"group": [ONE] * 65}]}], echo(MIB)),
    "one message": chord([{"chain": [ONE, {"group": [ONE] * 16}]}], echo(MIB)),
    "groups in a row": row(40, echo(MIB)),
    "a body of groups": chord([ONE] * 2, chord([ONE] * 64, echo(MIB))),
}
LIGHT: dict[str, dict[str, Any]] = {
    **CANVASES,
    "a chord": chord([ONE] * 60, echo(MIB)),
    "a group": {"group": [ONE] * 9_999},
    "a chord of many": {"chain": [ONE, {"group": [ONE] * 9_998}, total()]},
    "a long chain": {"chain": [ONE] * 10_000},
    "groups at the ends of a header": chord([{"chain": [ONE, {"group": [ONE] * 12}]}], echo(MIB)),
    "groups in a row": row(64, total()),
}


@pytest.mark.parametrize("name", HEAVY)
def test_what_chords_carry_is_bounded_wherever_they_stand(name):
    with pytest.raises(Problem) as refused:
        check_weight(line(HEAVY[name]))

    assert (refused.value.code, refused.value.queued) == ("body-too-large", "no")


@pytest.mark.parametrize("name", LIGHT)
def test_what_is_within_the_bounds_is_taken(name):
    check_weight(line(LIGHT[name]))


def test_chords_in_a_header_are_refused_before_they_are_built():
    wide = line(chord([chord([ONE], total())] * 3_000, echo(MIB)))
    with most_held() as held:
        with pytest.raises(Problem):
            check_weight(wide)

        assert held() < MIB // 4


def nested(groups: int, tasks: int) -> dict[str, Any]:
    inner: list[Any] = [ONE] * tasks
    for _ in range(groups - 1):
        inner = [{"group": inner}]
    return {"group": inner}


GROUPS = {
    "three around all": nested(3, 9_000),
    "behind a task": {"chain": [ONE, nested(3, 9_000)]},
    "a header": chord([nested(2, 9_000)], total()),
    "in a link": add(1, 2, link=nested(3, 9_000)),
    "a chain that ends in a group": {"group": [{"chain": [ONE, nested(2, 9_000)]}]},
}


@pytest.mark.parametrize("name", GROUPS)
def test_the_records_of_groups_are_as_large_as_is_counted(name):
    root = tree(GROUPS[name])
    groups = [node for node in walk(root) if isinstance(node, GroupNode)]
    size = sum(len(orjson.dumps({"result": group_result(group_of(node))})) for node in groups)

    assert size < MAX_GROUP_BYTES < 1.35 * size
    check_groups(root)


@pytest.mark.parametrize("around", range(5))
def test_groups_nested_around_many_tasks_are_refused(around):
    many = nested(4, 9_990)
    canvas = [
        many,
        {"chain": [ONE, many]},
        chord([many], total()),
        add(1, 2, link=many),
        {"group": [{"chain": [ONE, nested(3, 9_990)]}]},
    ][around]

    with pytest.raises(Problem) as refused:
        check_groups(tree(canvas))
    assert (refused.value.code, refused.value.queued) == ("invalid-request", "no")
