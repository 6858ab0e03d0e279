"""What Celery itself makes of canvases: a program, since its clients outlive their servers.

`python -m tests.support.celery_canvases` prints the results of `CANVASES` as JSON; with a group.s
id as argument, the results of the group as `GroupResult.restore` gives them; with `save`, it saves
a group that has begun and prints its id; with a seed and a number, it prints what became of as many
random canvases, and null for those that Celery does not end.
"""

import json
import sys
import time
from typing import Any

from celery import group
from celery.exceptions import TimeoutError as NeverEnded
from celery.result import GroupResult

from tests.apps.canvas_app import app
from tests.support.canvas_shapes import canvases
from tests.support.canvases import CANVASES, add, celerys

TIMEOUT_S = 20
GIVEN_UP_S = 8
"""Some canvases never end, or end wrong, when Celery publishes them."""


def outcome(result: Any, end: float) -> Any:
    """The result of a canvas, or None."""
    while not result.ready():
        if time.monotonic() > end:
            return None
        time.sleep(0.05)
    try:
        return result.get(timeout=1) if result.successful() else None
    except NeverEnded:
        return None


def said(arguments: list[str]) -> Any:
    """What this program prints."""
    match arguments:
        case []:
            return {
                name: celerys(canvas, app).apply_async().get(timeout=TIMEOUT_S)
                for name, canvas in CANVASES.items()
            }
        case ["save"]:
            begun = group(celerys(add(n, n), app) for n in range(3)).apply_async()
            begun.save()
            return begun.id
        case [seed, count]:
            shapes = [celerys(one, app).apply_async() for one in canvases(int(seed), int(count))]
            end = time.monotonic() + GIVEN_UP_S
            return [outcome(one, end) for one in shapes]
        case [group_id]:
            return GroupResult.restore(group_id, app=app).get(timeout=TIMEOUT_S)


if __name__ == "__main__":
    sys.stdout.write("\n" + json.dumps(said(sys.argv[1:])))
