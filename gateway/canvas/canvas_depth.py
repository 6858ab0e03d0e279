"""How deep the chords of a canvas go: what workers can still carry out. Pure.

A group that something follows is the header of a chord, whose body is what follows, and so on: of
groups in a row each message has all that comes later inside of it. Celery builds and publishes
that by recursion (`Signature.from_dict`, `_chord.run`) under Python's limit of 1,000 frames.
"""

from typing import NamedTuple

from gateway.canvas.canvas import Group, Line, Step, line_of, spine
from gateway.canvas.canvas_request import MAX_AT_ONCE, MAX_CHORDS, TaskNode
from gateway.errors import invalid_request

MAX_COPIES = 20_000
"""Signatures that a worker of Celery before 5.7 makes of groups in a row: there each task of a
header carries its chord's body, in which each task of a header carries … (`_chord.freeze`). It
takes a second or two for as many, which are some 5 MB."""


class _Weight(NamedTuple):
    depth: int
    """Chords inside each other, with those of what waits for the end."""
    at_once: int
    """Chords that begin when this does, each in the header of another."""
    copies: int
    """Signatures, with what waits for the end at each that it waits for."""


_NOTHING = _Weight(0, 0, 0)


def check_depth(line: Line, *, apps: bool) -> None:
    """Refuse a canvas that workers cannot carry out.

    Args:
        line: The canvas.
        apps: Some of it may be executed by workers of any version of Celery.

    Raises:
        Problem: `invalid-request`, at a group (queued: no).
    """
    _Scale(MAX_COPIES if apps else None).line(line, _NOTHING, later=False)


class _Scale:
    """Weighs lines and steps; `after` is what waits for the end, `later`: a worker publishes it."""

    def __init__(self, most_copies: int | None) -> None:
        self._most_copies = most_copies

    def line(self, line: Line, after: _Weight, *, later: bool) -> _Weight:
        *steps, last = line
        weights = [self._step(step, _NOTHING, later=later or n > 0) for n, step in enumerate(steps)]
        weights.append(self._step(last, after, later=later or bool(steps)))
        return _Weight(
            max(one.depth for one in weights),
            weights[0].at_once,
            sum(one.copies for one in weights),
        )

    def _step(self, step: Step, after: _Weight, *, later: bool) -> _Weight:
        headers, last = spine(step)
        if isinstance(last, Group):
            weight = self._members(last, after, later=later or bool(headers))
        else:
            weight = self._task(last, after)
        for n in range(len(headers) - 1, -1, -1):
            inside = self._members(headers[n], weight, later=later or n > 0)
            weight = _Weight(
                1 + max(weight.depth, inside.depth),
                1 + inside.at_once,
                weight.copies + inside.copies,
            )
            fault = self._fault(weight, later=later or n > 0)
            if fault is not None:
                raise invalid_request(headers[n].place, fault, queued="no")
        return weight

    def _members(self, group: Group, after: _Weight, *, later: bool) -> _Weight:
        weights = [self.line(member, after, later=later) for member in group.members]
        return _Weight(
            max((one.depth for one in weights), default=after.depth),
            max((one.at_once for one in weights), default=0),
            sum(one.copies for one in weights),
        )

    def _task(self, task: TaskNode, after: _Weight) -> _Weight:
        links = [
            self.line(line_of(link), _NOTHING, later=True) for link in (*task.links, *task.errbacks)
        ]
        return _Weight(
            max(after.depth, *(1 + one.depth for one in links), 0),
            0,
            1 + after.copies + sum(one.copies for one in links),
        )

    def _fault(self, weight: _Weight, *, later: bool) -> str | None:
        if weight.depth > MAX_CHORDS:
            return (
                f"Over {MAX_CHORDS} chords one inside the other: a group that something follows is "
                "the header of a chord, and what follows is its body. A task between two groups "
                "parts them"
            )
        if later and weight.at_once > MAX_AT_ONCE:
            return (
                f"Over {MAX_AT_ONCE} chords, each at the beginning of the header of another, "
                "behind the first step. A task before the inner ones parts them"
            )
        if later and self._most_copies is not None and weight.copies > self._most_copies:
            return (
                f"Workers of Celery before 5.7 make over {self._most_copies} tasks of the groups "
                "in a row here: each task of a group carries all that follows it. A task between "
                "two groups parts them"
            )
        return None
