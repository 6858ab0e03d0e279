"""What a canvas takes once it is published, counted before one message of it is built. Pure.

Each task of a chord's header carries the body of the chord, and that the body of the chord that it
ends for: what is small in a request may be many times as large in the broker.

    octets of a step = its own + copies of the chord that waits for its end × octets of that chord
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from gateway.canvas.canvas import Chord, Group, Line, Step, line_of
from gateway.canvas.canvas_request import ChainNode, ChordNode, GroupNode, Node, TaskNode, is_empty
from gateway.errors import Problem, invalid_request

MAX_MESSAGE_BYTES = 15 * 1024 * 1024
"""Of one message: RabbitMQ takes 16 MiB."""
MAX_PUBLISHED_BYTES = 64 * 1024 * 1024
"""Of the messages that begin a canvas; and of the bodies of all its chords, in each task of their
headers, also where workers publish them."""
MAX_GROUP_BYTES = 2 * 1024 * 1024
"""Of what is written down of a canvas' groups: the ids of each one's members."""
_SIGNATURE_BYTES = 90
"""Of a signature, without its task, arguments and options."""

_MEMBER_BYTES = 18
"""Of a member of a group as it is written down, without its id: `[["<id>",null],null],`."""


def too_large() -> Problem:
    """Return the refusal of a canvas whose messages take too much (queued: no)."""
    return Problem(
        "body-too-large",
        f"the messages of the canvas take over {MAX_PUBLISHED_BYTES} bytes together, or one of "
        f"them over {MAX_MESSAGE_BYTES}: every task of a chord's header carries the body of the "
        "chord, and what follows. Pass large values by reference, or make smaller groups",
        queued="no",
    )


def check_weight(line: Line) -> None:
    """Refuse a canvas whose chords take too much of the broker.

    Args:
        line: The canvas; its tasks have their ids and options.

    Raises:
        Problem: `body-too-large` (queued: no).
    """
    _Scale().line(line, 0)


def check_groups(root: Node) -> None:
    """Refuse a canvas whose groups take too much of Redis.

    Args:
        root: The canvas; its tasks have their ids.

    Raises:
        Problem: `invalid-request` (queued: no).
    """
    written = 0

    def add(size: int) -> None:
        nonlocal written
        written += size
        if written > MAX_GROUP_BYTES:
            raise invalid_request(
                root.place,
                f"The ids of the members of its groups take over {MAX_GROUP_BYTES} bytes: a task "
                "counts for each group that it is in. Nest fewer groups, or submit several "
                "canvases",
                queued="no",
            )

    _result_bytes(root, add)


def _result_bytes(node: Node, add: Callable[[int], None]) -> int:
    """Return the octets of a node's result as it is written down; `add` those of each group."""
    match node:
        case TaskNode():
            for link in (*node.links, *node.errbacks):
                _result_bytes(link, add)
            return len(node.id) + _MEMBER_BYTES
        case ChainNode():
            sizes = [(_result_bytes(step, add), is_empty(step)) for step in node.steps]
            return next((size for size, empty in reversed(sizes) if not empty), sizes[-1][0])
        case GroupNode():
            size = len(node.id) + _MEMBER_BYTES
            size += sum(_result_bytes(member, add) for member in node.members)
            add(size)
            return size
        case ChordNode():
            _result_bytes(node.header, add)
            return _result_bytes(node.body, add)


class _Size(NamedTuple):
    own: int
    copies: int
    """Of the chord that waits for the end, inside."""

    def carrying(self, chord: int) -> int:
        return self.own + self.copies * chord


class _Scale:
    """Adds up what is published; refuses as soon as it is too much."""

    def __init__(self) -> None:
        self._published = 0
        self._sizes: dict[int, tuple[Step, _Size]] = {}
        """By the identity of each step, which is kept so that no other has it."""
        self._links: dict[int, list[Line]] = {}
        self._options: dict[int, int] = {}

    def line(self, line: Line, chord: int) -> None:
        """Count a line whose last step carries a chord of so many octets."""
        behind = 0
        for step in reversed(line):
            self._step(step, chord, behind)
            behind += self._size(step).carrying(chord)
            chord = 0

    def _step(self, step: Step, chord: int, behind: int) -> None:
        match step:
            case TaskNode():
                self._count(0, message=chord + behind)
                for link in self._links_of(step):
                    self.line(link, 0)
            case Group():
                for member in step.members:
                    self.line(member, chord)
            case Chord():
                body = self._size(step.body).carrying(chord) + behind
                self._count(body * max(1, len(step.header.members)), message=body)
                for member in step.header.members:
                    self.line(member, body)
                self._step(step.body, chord, behind)

    def _count(self, size: int, *, message: int) -> None:
        self._published += size
        if self._published > MAX_PUBLISHED_BYTES or message > MAX_MESSAGE_BYTES:
            raise too_large()

    def _size(self, step: Step) -> _Size:
        """Return the octets of a step as a worker will be given it."""
        known = self._sizes.get(id(step))
        if known is None:
            known = self._sizes[id(step)] = step, self._measured(step)
        return known[1]

    def _measured(self, step: Step) -> _Size:
        match step:
            case TaskNode():
                request = step.request
                own = _SIGNATURE_BYTES + len(request.task) + len(step.id)
                own += memoryview(request.args).nbytes + memoryview(request.kwargs).nbytes
                own += self._options_bytes(step.options)
                own += sum(self._line_size(link).own for link in self._links_of(step))
                return _Size(own, 1)
            case Group():
                sizes = [self._line_size(member) for member in step.members]
                own = _SIGNATURE_BYTES + len(step.id) + sum(size.own for size in sizes)
                return _Size(own, 1 + sum(size.copies for size in sizes))
            case Chord():
                header, body = self._size(step.header), self._size(step.body)
                return _Size(_SIGNATURE_BYTES + header.own + body.own, body.copies)

    def _line_size(self, line: Line) -> _Size:
        sizes = [self._size(step) for step in line]
        return _Size(sum(size.own for size in sizes), sizes[-1].copies)

    def _links_of(self, task: TaskNode) -> list[Line]:
        if not task.links and not task.errbacks:
            return []
        links = self._links.get(id(task))
        if links is None:
            links = [line_of(link) for link in (*task.links, *task.errbacks)]
            self._links[id(task)] = links
        return links

    def _options_bytes(self, options: dict[str, Any]) -> int:
        """Return the octets of a task's options, which tasks that have none of their own share."""
        size = self._options.get(id(options))
        if size is None:
            size = self._options[id(options)] = len(msgspec.json.encode(options))
        return size
