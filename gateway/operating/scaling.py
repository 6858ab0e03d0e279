"""How many workers a queue wants: for autoscalers. Pure."""

import math
from dataclasses import dataclass

TARGET_S = 60.0
"""In how long what waits should have started, unless the request says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is known of a queue, and of the workers that consume it."""

    backlog: int
    """Messages ready."""
    running: int
    """Tasks of it that run."""
    workers: int
    """Live workers that consume it."""
    slots: int
    """Theirs together."""
    busy: int
    """Of these, with a task of whatever queue in them."""
    started_per_s: float | None
    paused: bool


def wanted(load: Load, target_s: float) -> int:
    """Return how many workers would start what waits within a time.

    A worker that is half idle could start twice as much. Where nothing is known of their speed,
    a queue with messages wants one worker more than none.

    Args:
        load: What is known.
        target_s: Seconds.
    """
    if load.paused:
        return 0
    slots_each = load.slots / load.workers if load.workers else 1.0
    least = math.ceil(load.running / max(1.0, slots_each))
    if not load.backlog:
        return least
    if not load.workers or not load.started_per_s:
        return max(1, load.workers, least)
    used = max(load.busy, 1) / max(load.slots, 1)
    each_per_s = load.started_per_s / load.workers / min(1.0, used)
    return max(1, least, math.ceil(load.backlog / target_s / each_per_s))
