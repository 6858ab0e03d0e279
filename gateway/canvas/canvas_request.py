"""JSON body → tree of tasks, chains, groups and chords. Pure.

Every node knows its place in the body (`$.chain[1].group[0]`), so that every refusal can name it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import msgspec

from gateway.decoding.choices import given, one_of
from gateway.decoding.typed_json import decode_with, finite
from gateway.errors import Fault, Problem, invalid_request
from gateway.submitting.task_request import (
    NO_OPTIONS,
    Args,
    Kwargs,
    Options,
    TaskName,
    TaskRequest,
    always,
    check_form,
    guard_headers,
)

MAX_TASKS = 10_000
"""Tasks of one canvas; and as many chains, groups and chords, which are not counted with them."""
MAX_DEPTH = 32
"""Levels of nesting; workers read and write them recursively."""
MAX_CHORDS = 64
"""Chords inside each other: groups in a row. Celery 5.7 carries out 120, and at 158 no longer."""
MAX_AT_ONCE = 8
"""Chords at the beginning of each other's headers, behind the first step: a worker publishes them
at once, each through a connection of its own, and has ten (`broker_pool_limit`)."""


@dataclass(slots=True, kw_only=True, eq=False)
class TaskNode:
    """One task."""

    place: str
    request: TaskRequest
    immutable: bool
    """Takes nothing from the task before it."""
    links: "list[Node]"
    """What is called with its result."""
    errbacks: "list[Node]"
    """What is called with its id when it fails."""
    id: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    """Celery's options of a task that a worker will publish."""


@dataclass(slots=True, kw_only=True, eq=False)
class ChainNode:
    """One after the other, each given the result of the one before it."""

    place: str
    steps: "list[Node]"


@dataclass(slots=True, kw_only=True, eq=False)
class GroupNode:
    """All at once."""

    place: str
    members: "list[Node]"
    id: str = ""


@dataclass(slots=True, kw_only=True, eq=False)
class ChordNode:
    """A group, and what is called with the list of its results."""

    place: str
    header: GroupNode
    body: "Node"


Node = TaskNode | ChainNode | GroupNode | ChordNode


_REF = {"$ref": "#/components/schemas/Canvas"}
_Node = Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema=_REF)]
"""One node's bytes: each is parsed by itself, so that a fault in it can be placed."""
_Nodes = Annotated[list[_Node], msgspec.Meta(extra_json_schema={"minItems": 1})]
_Links = Annotated[
    msgspec.Raw,
    msgspec.Meta(
        extra_json_schema={"anyOf": [_REF, {"type": "array", "items": _REF}, {"type": "null"}]}
    ),
]


class Chord(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Tasks that run at once, and what is called with the list of their results."""

    header: _Nodes
    body: _Node


class Canvas(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A signature, or signatures composed: exactly one of `task`, `chain`, `group` and `chord`."""

    SCHEMA: ClassVar[dict[str, Any]] = {
        "description": f"A signature, or signatures composed; at most {MAX_TASKS} tasks, "
        f"and {MAX_CHORDS} chords one inside the other, as groups in a row are. Each task of a "
        "chord's header carries the chord's body, with all that follows: in all, over the whole "
        "canvas, at most 64 MiB, and 15 MiB in one message (413 `body-too-large`). The ids of the "
        "members of all groups take at most 2 MiB, some 28,000 of them: a task counts for each "
        "group that it is in. "
        "Exactly one of `task`, `chain`, `group` and `chord`; the other members belong to a "
        "`task`.",
        **one_of(*map(given, ("task", "chain", "group", "chord"))),
    }

    task: TaskName | None = None
    args: Args = always(b"")
    kwargs: Kwargs = always(b"")
    options: Options = NO_OPTIONS
    immutable: bool = False
    """Takes nothing from the task before it."""
    link: _Links = always(b"")
    """Called with its result."""
    link_error: _Links = always(b"")
    """Called when it fails, as Celery calls errbacks: with its id or, if its signature takes more,
    with (request, exc, traceback) in the failing worker."""
    chain: _Nodes | None = None
    """One after the other, each given the result of the one before it."""
    group: _Nodes | None = None
    """All at once; gives the list of the results, also of one. In a chain Celery's client makes its
    member of a group of one instead."""
    chord: Chord | None = None


_decode = msgspec.json.Decoder(Canvas, float_hook=finite).decode
_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_PLAIN = Canvas()


def parse_canvas(body: bytes) -> Node:
    """Parse one canvas.

    Args:
        body: JSON, UTF-8.

    Raises:
        Problem: `malformed-json`, `invalid-request` (queued: no).
    """
    return _Parser().node(body, "$", 0)


def relocate(problem: Problem, place: str) -> Problem:
    """Return the same refusal, its places counted from the root of the canvas."""
    faults = tuple(Fault(place + fault.at[1:], fault.detail) for fault in problem.faults)
    detail = f"{place}: {problem.detail}"
    if problem.code == "invalid-request" and len(faults) == 1:
        detail = f"{faults[0].at}: {faults[0].detail}"
    return Problem(
        problem.code,
        detail,
        queued=problem.queued,
        faults=faults or (Fault(place, problem.detail),),
        retry_after_s=problem.retry_after_s,
        members=problem.members,
    )


def walk(node: Node) -> Iterator[Node]:
    """Yield every node in the order of the request, links behind their task."""
    yield node
    for child in children(node):
        yield from walk(child)


def children(node: Node) -> "list[Node]":
    """Return the nodes directly inside one."""
    match node:
        case TaskNode():
            return [*node.links, *node.errbacks]
        case ChainNode():
            return node.steps
        case GroupNode():
            return node.members
        case ChordNode():
            return [node.header, node.body]


def is_empty(node: Node) -> bool:
    """Return whether a node is a group of nothing, which is no step of a chain."""
    match node:
        case GroupNode():
            return all(is_empty(member) for member in node.members)
        case ChainNode():
            return all(is_empty(step) for step in node.steps)
    return False


class _Parser:
    def __init__(self) -> None:
        self._tasks = 0
        self._compositions = 0

    def node(self, raw: bytes, place: str, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise invalid_request(place, f"Nested over {MAX_DEPTH} levels deep", queued="no")
        try:
            guard_headers(raw)
            form: Canvas = decode_with(_decode, raw)
        except Problem as problem:
            raise relocate(problem, place) from None
        given = [
            name for name in ("task", "chain", "group", "chord") if getattr(form, name) is not None
        ]
        if len(given) != 1:
            raise invalid_request(
                place, "Expected exactly one of task, chain, group and chord", queued="no"
            )
        if form.task is not None:
            self._tasks += 1
            if self._tasks > MAX_TASKS:
                raise invalid_request(place, f"Over {MAX_TASKS} tasks", queued="no")
            return self._task(form, form.task, place, depth)
        self._compositions += 1
        if self._compositions > MAX_TASKS:
            raise invalid_request(place, f"Over {MAX_TASKS} chains, groups and chords", queued="no")
        for name in ("args", "kwargs", "options", "immutable", "link", "link_error"):
            if getattr(form, name) != getattr(_PLAIN, name):
                raise invalid_request(
                    f"{place}.{name}", f"Belongs to a task, not to a {given[0]}", queued="no"
                )
        if form.chain is not None:
            steps = self._nodes(form.chain, f"{place}.chain", depth)
            return ChainNode(place=place, steps=steps)
        if form.group is not None:
            members = self._nodes(form.group, f"{place}.group", depth, least=0)
            return GroupNode(place=place, members=members)
        return self._chord(form.chord, f"{place}.chord", depth)

    def _chord(self, chord: Chord | None, place: str, depth: int) -> ChordNode:
        if chord is None:
            raise invalid_request(place, "Expected an object", queued="no")
        header = self._nodes(chord.header, f"{place}.header", depth, least=0)
        return ChordNode(
            place=place,
            header=GroupNode(place=f"{place}.header", members=header),
            body=self.node(bytes(chord.body), f"{place}.body", depth + 1),
        )

    def _task(self, form: Canvas, task: str, place: str, depth: int) -> TaskNode:
        request = TaskRequest(
            task,
            form.args if bytes(form.args) else msgspec.Raw(b"[]"),
            form.kwargs if bytes(form.kwargs) else msgspec.Raw(b"{}"),
            form.options,
        )
        try:
            check_form(request)
        except Problem as problem:
            raise relocate(problem, place) from None
        return TaskNode(
            place=place,
            request=request,
            immutable=form.immutable,
            links=self._links(bytes(form.link), f"{place}.link", depth),
            errbacks=self._links(bytes(form.link_error), f"{place}.link_error", depth),
        )

    def _links(self, raw: bytes, place: str, depth: int) -> list[Node]:
        """Return one node, or a list of them."""
        if raw in {b"", b"null"}:
            return []
        if not raw.startswith(b"["):
            return [self.node(raw, place, depth + 1)]
        try:
            links = decode_with(_decode_list, raw)
        except Problem as problem:
            raise relocate(problem, place) from None
        return [self.node(bytes(one), f"{place}[{n}]", depth + 1) for n, one in enumerate(links)]

    def _nodes(
        self, found: list[msgspec.Raw], place: str, depth: int, least: int = 1
    ) -> list[Node]:
        if len(found) < least:
            raise invalid_request(place, "Expected at least one signature", queued="no")
        return [self.node(bytes(raw), f"{place}[{n}]", depth + 1) for n, raw in enumerate(found)]
