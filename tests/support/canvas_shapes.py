"""Random canvases, small and of every shape, and what they give."""

import itertools
import random
from collections.abc import Iterator
from typing import Any


def canvases(seed: int, count: int) -> list[dict[str, Any]]:
    """Make canvases of tasks that return what they are given."""
    rng = random.Random(seed)
    return [_node(rng, itertools.count(), 0) for _ in range(count)]


def _node(rng: random.Random, numbers: Iterator[int], depth: int) -> dict[str, Any]:
    kind = rng.choices(("task", "chain", "group", "chord"), (1 + 2 * depth, 3, 3, 2))[0]
    if depth > 3:
        kind = "task"

    def some(least: int) -> list[dict[str, Any]]:
        size = max(least, rng.choices((0, 1, 2, 3), (1, 4, 4, 1))[0])
        return [_node(rng, numbers, depth + 1) for _ in range(size)]

    match kind:
        case "chain":
            return {"chain": some(2)}
        case "group":
            return {"group": some(0)}
        case "chord":
            return {"chord": {"header": some(0), "body": _node(rng, numbers, depth + 1)}}
    immutable = {"immutable": True} if rng.random() < 0.1 else {}
    return {"task": "demo.shape", "args": [next(numbers)], **immutable}


def given_by(canvas: dict[str, Any]) -> Any:
    """What a canvas gives, by the contract: a group a list, in a chain, too."""
    whole = _alone(canvas)
    if "group" in whole:
        members = _members(whole)
        if len(members) == 1 and _ends_in_group(members[0]):
            return _value(members[0], ())  # as `group.apply_async` of Celery returns it
    return _value(canvas, ())


def has_a_group_of_one_in_a_chain(canvas: dict[str, Any]) -> bool:
    """Whether Celery's client makes something else of it."""
    steps = canvas.get("chain", [])
    if any("group" in step and len(_members(step)) == 1 for step in steps):
        return True
    inside = [*steps, *canvas.get("group", [])]
    if "chord" in canvas:
        inside += [*canvas["chord"]["header"], canvas["chord"]["body"]]
    return any(map(has_a_group_of_one_in_a_chain, inside))


def _value(node: dict[str, Any], given: tuple[Any, ...]) -> Any:
    match node:
        case {"chain": steps}:
            for step in _steps(steps):
                given = (_value(step, given),)
            return given[0]
        case {"group": _}:
            return [_value(member, given) for member in _members(node)]
        case {"chord": {"header": header, "body": body}}:
            return _value(body, (_value({"group": header}, given),))
    return {"k": node["args"][0], "of": [] if node.get("immutable") else list(given)}


def _steps(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without groups of nothing, which are no steps."""
    return [step for step in steps if not _is_nothing(step)] or steps[-1:]


def _is_nothing(node: dict[str, Any]) -> bool:
    match node:
        case {"group": _}:
            return not _members(node)
        case {"chain": steps}:
            return all(map(_is_nothing, steps))
    return False


def _members(group: dict[str, Any]) -> list[dict[str, Any]]:
    """Those of groups inside it are its own."""
    found: list[dict[str, Any]] = []
    for member in group["group"]:
        alone = _alone(member)
        found += _members(alone) if "group" in alone else [member]
    return found


def _alone(node: dict[str, Any]) -> dict[str, Any]:
    """The only step of a chain."""
    while "chain" in node and len(steps := _steps(node["chain"])) == 1:
        [node] = steps
    return node


def _ends_in_group(node: dict[str, Any]) -> bool:
    match node:
        case {"chain": steps}:
            return _ends_in_group(_steps(steps)[-1])
        case {"chord": {"body": body}}:
            return _ends_in_group(body)
    return "group" in node
