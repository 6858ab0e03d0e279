"""Random canvases, small and of every shape."""

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
