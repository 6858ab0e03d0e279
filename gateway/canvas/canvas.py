"""Canvas: chain, group and chord as the dicts and messages that Celery's workers understand. Pure.

A request is first brought into one form, by the rules of Celery's own `canvas._merge_chain_step`
and `_chain.prepare_steps` but for one:

    line   = step, step, …          each given the result of the one before it
    step   = task | chord | group   a group stands last: group, x → chord(group, x)
    chord  = header: lines          its body is one step; chord(h, chain(a, b)) → chord(h, a), b

In a chain an empty group is no step. A group of one is a group and gives a list of one, while
Celery's client makes its member of it (`maybe_unroll_group`), which workers do not.

Then the messages that the gateway publishes itself are those of the first steps. All that comes
later travels inside of them, with its ids, and is published by workers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec.structs import replace

from gateway.canvas.canvas_request import ChainNode, ChordNode, GroupNode, Node, TaskNode


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """A group in a line."""

    id: str
    place: str
    """In the body of the request."""
    members: "tuple[Line, ...]"


@dataclass(frozen=True, slots=True, eq=False)
class Chord:
    """A chord in a line."""

    header: Group
    body: "Step"


Step = TaskNode | Group | Chord
Line = tuple[Step, ...]

Result = tuple[tuple[str, None], "list[Result] | None"]
"""A result as Celery writes it: `AsyncResult.as_tuple`, `GroupResult.as_tuple`."""


class Membership(msgspec.Struct, frozen=True, kw_only=True):
    """Whom the last step of a line belongs to."""

    group_id: str | None = None
    index: int | None = None
    chord: msgspec.Raw | None = None
    """What is called when all of the group have ended; None: nothing."""


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """One message that the gateway publishes."""

    node: TaskNode
    membership: Membership
    embed: dict[str, Any]
    """What its body says of callbacks, errbacks, chain and chord."""
    given: bool = False
    """Whether its first argument is the empty list: the results of an empty header."""


@dataclass(slots=True)
class Opening:
    """What a canvas needs to begin."""

    line: Line
    starts: list[Start] = field(default_factory=list)
    chord_sizes: dict[str, int] = field(default_factory=dict)
    """How many ends each chord that begins now waits for, by the id of its header."""


_ALONE = Membership()


def line_of(node: Node) -> Line:
    """Bring a canvas into the one form."""
    match node:
        case TaskNode():
            return (node,)
        case GroupNode():
            return (group_of(node),)
        case ChordNode():
            first, *rest = line_of(node.body)
            return (Chord(group_of(node.header), first), *rest)
        case ChainNode():
            return _chained([line_of(child) for child in node.steps])


def _chained(children: list[Line]) -> Line:
    """Lines one behind the other, as Celery's `canvas._fold_chain` joins them."""
    steps = [step for child in children if not _is_nothing(child) for step in child]
    line: list[Step] = []  # in reverse: what follows a group is whole before it becomes a body
    for step in reversed(steps):
        joined = _join(step, line[-1]) if line else None
        if joined is None:
            line.append(step)
        else:
            line[-1] = joined
    return tuple(reversed(line)) or children[-1]


def _is_nothing(line: Line) -> bool:
    return isinstance(line[0], Group) and not line[0].members


def group_of(node: GroupNode) -> Group:
    """Return a group with the members of groups inside it as its own."""
    members: list[Line] = []
    for child in node.members:
        line = line_of(child)
        if len(line) == 1 and isinstance(line[0], Group):
            members += line[0].members
        else:
            members.append(line)
    return Group(node.id, node.place, tuple(members))


def _join(last: Step, step: Step) -> Chord | None:
    """Return the chord that a group becomes when something follows; None when nothing changes."""
    headers, end = spine(last)
    if not isinstance(end, Group):
        return None
    joined = Chord(end, step)
    for header in reversed(headers):
        joined = Chord(header, joined)
    return joined


def spine(step: Step) -> tuple[list[Group], TaskNode | Group]:
    """Return the headers of a chord whose body is a chord, and so on, and the last body."""
    headers: list[Group] = []
    while isinstance(step, Chord):
        headers.append(step.header)
        step = step.body
    return headers, step


def opening(line: Line) -> Opening:
    """Return what to publish, and what to write down before, so that the canvas begins."""
    made = Opening(line)
    _start(made, line, _ALONE)
    return made


def _start(made: Opening, line: Line, membership: Membership, *, given: bool = False) -> None:
    first, *rest = line
    if isinstance(first, Chord) and not first.header.members:
        # Nothing calls the body of an empty header: `_chord.run` publishes it at once.
        if membership.group_id is None and not rest:
            membership = replace(membership, group_id=first.header.id)
        _start(made, (first.body, *rest), membership, given=True)
        return
    chain = _chain(rest, membership)
    if chain:
        membership = _ALONE
    match first:
        case TaskNode():
            embed = {
                "callbacks": [_signature(line_of(link)) for link in first.links] or None,
                "errbacks": [_signature(line_of(link)) for link in first.errbacks] or None,
                "chain": chain or None,
                "chord": membership.chord,
            }
            made.starts.append(
                Start(
                    node=first,
                    membership=membership,
                    embed=embed,
                    given=given and not first.immutable,
                )
            )
        case Group():
            # The only step. Its members end for the chord that waits for it, if one does.
            joined = membership if membership.chord else Membership(group_id=first.id)
            for index, member in enumerate(first.members):
                _start(made, member, replace(joined, index=index), given=given)
        case Chord():
            header = first.header
            if membership.group_id is None:
                membership = replace(membership, group_id=header.id)
            body = later(first.body, membership)
            if chain:
                body["options"]["chain"] = chain
            chord = msgspec.Raw(msgspec.json.encode(body))
            made.chord_sizes[header.id] = sum(ends(member) for member in header.members)
            for index, member in enumerate(header.members):
                joined = Membership(group_id=header.id, index=index, chord=chord)
                _start(made, member, joined, given=given)


def _chain(rest: Sequence[Step], membership: Membership) -> list[dict[str, Any]]:
    """Return the steps behind the first, in reverse, as workers pop them."""
    last = len(rest) - 1
    steps = [later(step, membership if n == last else _ALONE) for n, step in enumerate(rest)]
    return steps[::-1]


def later(step: Step, membership: Membership = _ALONE) -> dict[str, Any]:
    """Return a step that a worker will publish, as Celery's dict of a frozen signature."""
    match step:
        case TaskNode():
            options = {**step.options, "task_id": step.id, **_options_of(membership)}
            if step.links:
                options["link"] = [_signature(line_of(link)) for link in step.links]
            if step.errbacks:
                options["link_error"] = [_signature(line_of(link)) for link in step.errbacks]
            return {
                "task": step.request.task,
                "args": step.request.args,
                "kwargs": step.request.kwargs,
                "options": options,
                "subtask_type": None,
                "immutable": step.immutable,
            }
        case Group():
            tasks = [
                _signature(member, replace(membership, index=index))
                for index, member in enumerate(step.members)
            ]
            options = {"task_id": step.id, **_options_of(membership)}
            return _composed("group", {"tasks": tasks}, options)
        case Chord():
            header = later(step.header)
            body = later(step.body, membership)
            kwargs = {"kwargs": {}, "header": header, "body": body}
            return _composed("chord", kwargs, {"task_id": step.header.id})


def _signature(line: Line, membership: Membership = _ALONE) -> dict[str, Any]:
    """Return a line as one signature."""
    if len(line) == 1:
        return later(line[0], membership)
    first, *rest = line
    tasks = [later(first), *reversed(_chain(rest, membership))]
    return _composed("chain", {"tasks": tasks}, {"task_id": final(line)[0][0]})


def _composed(kind: str, kwargs: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    return {
        "task": f"celery.{kind}",
        "args": [],
        "kwargs": kwargs,
        "options": options,
        "subtask_type": kind,
        "immutable": False,
    }


def _options_of(membership: Membership) -> dict[str, Any]:
    found = {
        "group_id": membership.group_id,
        "group_index": membership.index,
        "chord": membership.chord,
    }
    return {name: value for name, value in found.items() if value is not None}


def ends(line: Line) -> int:
    """Return how many ends a line adds to the chord it is in the header of: `_chord._descend`."""
    last = line[-1]
    while isinstance(last, Chord):
        last = last.body
    if isinstance(last, Group):
        return sum(ends(member) for member in last.members)
    return 1


def final(line: Line) -> Result:
    """Return the result of a line: that of its last step."""
    last = line[-1]
    while isinstance(last, Chord):
        last = last.body
    if isinstance(last, Group):
        return group_result(last)
    return (last.id, None), None


def outcome(line: Line) -> Result:
    """Return the result of a whole canvas: a group of one that ends in a group is that group.

    Celery's `group.apply_async` returns it so.
    """
    match line:
        case (Group(members=(member,)),) if _ends_in_group(member):
            return final(member)
    return final(line)


def group_result(group: Group) -> Result:
    """Return the results of a group's members, in order."""
    return (group.id, None), [final(member) for member in group.members]


def simple_headers(line: Line) -> Iterator[str]:
    """Yield the ids of chords' headers that workers join from what they kept.

    Celery saves the group of a header only where a member ends in a group (`apply_chord`); where
    one is saved, the worker reads every result again.
    """
    for step in line:
        part: Step = step
        while isinstance(part, Chord):
            if not any(_ends_in_group(member) for member in part.header.members):
                yield part.header.id
            for member in part.header.members:
                yield from simple_headers(member)
            part = part.body
        if isinstance(part, Group):
            for member in part.members:
                yield from simple_headers(member)
        elif isinstance(part, TaskNode):
            for link in (*part.links, *part.errbacks):
                yield from simple_headers(line_of(link))


def _ends_in_group(line: Line) -> bool:
    return final(line)[1] is not None
