"""Each task of a canvas, checked as if it were submitted alone."""

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from gateway.access.auth import Caller
from gateway.canvas.canvas_request import (
    ChainNode,
    ChordNode,
    GroupNode,
    Node,
    TaskNode,
    is_empty,
    relocate,
)
from gateway.errors import Fault, Problem
from gateway.submitting.plan import TaskPlan, Terms
from gateway.submitting.submission import Submission

_MAX_FAULTS = 100
BREATH = 100
"""Nodes between two looks at what else the event loop has to do."""
_NOTHING, _RESULT = (0,), (1,)
_FAILURE = (1, 3)
"""An errback is given the id of the failed task or, by its signature, request, exception and
traceback: Celery's `Backend._call_task_errbacks`."""


@dataclass(slots=True, kw_only=True)
class CheckedCanvas:
    """A canvas that may be published."""

    root: Node
    caller: Caller
    plans: dict[int, TaskPlan] = field(default_factory=dict)
    """Of each task, by the identity of its node."""
    due_s: dict[int, int] = field(default_factory=dict)
    """When each node may begin, seconds from now, by its identity."""
    last_due_s: int = 0

    def end_s(self, node: Node) -> int:
        """Return when a node that was visited is due to end at the earliest, links apart."""
        match node:
            case TaskNode():
                plan = self.plans.get(id(node))
                return self.due_s[id(node)] + (plan.when.delay_s if plan else 0)
            case ChainNode():
                return self.end_s(node.steps[-1])
            case GroupNode():
                ends = (self.end_s(member) for member in node.members)
                return max(ends, default=self.due_s[id(node)])
            case ChordNode():
                return self.end_s(node.body)


async def check_canvas(root: Node, caller: Caller, submission: Submission) -> CheckedCanvas:
    """Plan every task of a canvas.

    Args:
        root: The canvas.
        caller: Who submits.
        submission: Plans single tasks.

    Raises:
        Problem: Every refusal, with its place in the canvas (queued: no); bad arguments of all
            tasks at once.
    """
    canvas = CheckedCanvas(root=root, caller=caller)
    faults: list[Fault] = []
    for count, (node, receives, due_s) in enumerate(_visit(canvas, root, 0, _NOTHING)):
        if count % BREATH == BREATH - 1:
            await asyncio.sleep(0)
        try:
            plan = await _plan(node, caller, receives, submission)
        except Problem as problem:
            placed = relocate(problem, node.place)
            if problem.code != "invalid-arguments":
                raise placed from None
            faults += placed.faults
            if len(faults) >= _MAX_FAULTS:
                break
            continue
        canvas.plans[id(node)] = plan
        canvas.last_due_s = max(canvas.last_due_s, due_s + plan.when.delay_s)
    if faults:
        raise Problem(
            "invalid-arguments",
            f"{len(faults)} of the arguments do not fit",
            queued="no",
            faults=tuple(faults[:_MAX_FAULTS]),
        )
    return canvas


async def _plan(
    node: TaskNode, caller: Caller, receives: tuple[int, ...], submission: Submission
) -> TaskPlan:
    """Plan a task that may be given its first parameters in several ways.

    Raises:
        Problem: What is wrong if it is called in the first way (queued: no).
    """
    first, *others = receives
    try:
        return await submission.plan(node.request, caller, Terms(receives=first))
    except Problem as problem:
        if problem.code != "invalid-arguments":
            raise
        for other in others:
            with contextlib.suppress(Problem):
                return await submission.plan(node.request, caller, Terms(receives=other))
        raise


def _visit(
    canvas: CheckedCanvas, node: Node, due_s: int, receives: tuple[int, ...]
) -> Iterator[tuple[TaskNode, tuple[int, ...], int]]:
    """Yield each task, how many parameters it may be given, and when it may begin.

    The caller puts the plan of each into `canvas.plans` before it asks for the next.
    """
    canvas.due_s[id(node)] = due_s
    match node:
        case TaskNode():
            yield node, _NOTHING if node.immutable else receives, due_s
            for link in node.links:
                yield from _visit(canvas, link, canvas.end_s(node), _RESULT)
            for link in node.errbacks:
                given = _FAILURE if isinstance(link, TaskNode) else _RESULT
                yield from _visit(canvas, link, canvas.end_s(node), given)
        case ChainNode():
            for step in node.steps:
                yield from _visit(canvas, step, due_s, receives)
                if not is_empty(step):
                    due_s, receives = canvas.end_s(step), _RESULT
        case GroupNode():
            for member in node.members:
                yield from _visit(canvas, member, due_s, receives)
        case ChordNode():
            yield from _visit(canvas, node.header, due_s, receives)
            yield from _visit(canvas, node.body, canvas.end_s(node.header), _RESULT)
