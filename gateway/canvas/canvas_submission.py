"""A canvas from its JSON to its confirms: checked whole, written down, then published."""

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.access.auth import Caller
from gateway.access.task_id import TaskIds
from gateway.canvas.canvas import (
    Plan,
    Result,
    group_of,
    group_result,
    line_of,
    outcome,
    plan,
    simple_headers,
)
from gateway.canvas.canvas_request import (
    ChainNode,
    ChordNode,
    GroupNode,
    Node,
    TaskNode,
    is_empty,
    relocate,
    walk,
)
from gateway.canvas.groups import Groups
from gateway.endings import callback_events
from gateway.errors import Fault, Problem
from gateway.rabbitmq.publisher import Publisher
from gateway.submitting.prepared import CanvasPart, Checked
from gateway.submitting.submission import Submission
from penstock.wire.headers import TENANT_HEADER

MAX_MESSAGE_BYTES = 15 * 1024 * 1024
"""Of one message: RabbitMQ takes 16 MiB."""
MAX_PUBLISHED_BYTES = 64 * 1024 * 1024
"""Of all messages of a canvas together: each task of a chord's header carries the body."""
_MAX_FAULTS = 100
_BREATH = 100
"""Nodes between two looks at what else the event loop has to do."""
_ROOM_TIMEOUT_S = 4.0
_NOTHING, _RESULT = (0,), (1,)
_FAILURE = (1, 3)
"""An errback is given the id of the failed task or, by its signature, request, exception and
traceback: Celery's `Backend._call_task_errbacks`."""


@dataclass(slots=True, kw_only=True)
class CheckedCanvas:
    """A canvas that may be published."""

    root: Node
    checked: dict[int, Checked]
    """Of each task, by the identity of its node."""
    due_s: dict[int, int]
    """When each node may begin, seconds from now, by its identity."""
    last_due_s: int


@dataclass(slots=True, kw_only=True)
class PreparedCanvas:
    """A canvas with its ids, ready to be published."""

    root: Node
    plan: Plan
    checked: dict[int, Checked]
    groups: dict[str, Result]
    result: Result
    last_due_s: int
    ids: list[str]
    """Of every task and group, in the order of the request."""


class CanvasSubmission:
    """Checks and publishes canvases.

    Args:
        submission: Checks and builds the messages of single tasks.
        task_ids: Issues the ids.
        groups: Keeps who belongs together.
        publisher: Publishes.
    """

    def __init__(
        self, submission: Submission, task_ids: TaskIds, groups: Groups, publisher: Publisher
    ) -> None:
        self._submission = submission
        self._task_ids = task_ids
        self._groups = groups
        self._publisher = publisher

    async def check(self, root: Node, caller: Caller) -> CheckedCanvas:
        """Check every task as if it were submitted alone.

        Args:
            root: The canvas.
            caller: Who submits.

        Raises:
            Problem: Every refusal, with its place in the canvas (queued: no); bad arguments of all
                tasks at once.
        """
        canvas = CheckedCanvas(root=root, checked={}, due_s={}, last_due_s=0)
        faults: list[Fault] = []
        for count, (node, receives, due_s) in enumerate(self._visit(canvas, root)):
            if count % _BREATH == _BREATH - 1:
                await asyncio.sleep(0)
            try:
                checked = await self._check_one(node, caller, receives)
            except Problem as problem:
                told = relocate(problem, node.place)
                if problem.code != "invalid-arguments":
                    raise told from None
                faults += told.faults
                if len(faults) >= _MAX_FAULTS:
                    break
                continue
            canvas.checked[id(node)] = checked
            canvas.last_due_s = max(canvas.last_due_s, due_s + checked.when.delay_s)
        if faults:
            raise Problem(
                "invalid-arguments",
                f"{len(faults)} of the arguments do not fit",
                queued="no",
                faults=tuple(faults[:_MAX_FAULTS]),
            )
        return canvas

    async def _check_one(
        self, node: TaskNode, caller: Caller, receives: tuple[int, ...]
    ) -> Checked:
        """Check a task that may be given its first parameters in several ways.

        Raises:
            Problem: What is wrong if it is called in the first way (queued: no).
        """
        first, *others = receives
        try:
            return await self._check_called(node, caller, first)
        except Problem as problem:
            if problem.code != "invalid-arguments":
                raise
            for other in others:
                with contextlib.suppress(Problem):
                    return await self._check_called(node, caller, other)
            raise

    async def _check_called(self, node: TaskNode, caller: Caller, receives: int) -> Checked:
        submission = self._submission
        return await submission.surely(
            lambda: submission.check(node.request, caller, receives=receives)
        )

    def prepare(
        self,
        canvas: CheckedCanvas,
        caller: Caller,
        traceparent: str | None,
        ids: list[str] | None = None,
    ) -> PreparedCanvas:
        """Give every node its id and make the plan.

        Args:
            canvas: From `check`.
            caller: Who submits.
            traceparent: W3C trace context to carry on.
            ids: Of an earlier try, in the order of the request; None: new ones.
        """
        given = iter(ids or ())
        used: list[str] = []
        for node in walk(canvas.root):
            if isinstance(node, ChainNode | ChordNode):
                continue
            if ids is not None:
                node.id = next(given)
            else:
                node.id = self._issue(canvas, node, caller)
            used.append(node.id)
            if isinstance(node, TaskNode):
                node.options = later_options(canvas.checked[id(node)], traceparent)
        line = line_of(canvas.root)
        return PreparedCanvas(
            root=canvas.root,
            plan=plan(line),
            checked=canvas.checked,
            groups={
                node.id: group_result(group_of(node))
                for node in walk(canvas.root)
                if isinstance(node, GroupNode)
            },
            result=outcome(line),
            last_due_s=canvas.last_due_s,
            ids=used,
        )

    async def publish(
        self, canvas: PreparedCanvas, traceparent: str | None, copy: str | None = None
    ) -> None:
        """Write down who belongs together, then publish the first messages.

        Args:
            canvas: From `prepare`.
            traceparent: W3C trace context to carry on.
            copy: Names this copy where the same ids may be published twice.

        Raises:
            Problem: `body-too-large`, `state-unavailable` (queued: no); what the publisher
                refuses when nothing was published (no); `unconfirmed` (unknown), with the ids that
                were confirmed, when only a part was.
        """
        for node in walk(canvas.root):
            if isinstance(node, TaskNode):  # those of the starts are remembered as they are built
                self._submission.remember_callback(canvas.checked[id(node)], node.id)
        messages = []
        size = 0
        for count, start in enumerate(canvas.plan.starts):
            if count % _BREATH == _BREATH - 1:
                await asyncio.sleep(0)
            part = CanvasPart(
                embed=msgspec.json.encode(start.embed),
                group_id=start.membership.group_id,
                group_index=start.membership.index,
                given=b"[]" if start.given else b"",
            )
            checked = canvas.checked[id(start.node)]
            prepared = self._submission.build(checked, start.node.id, traceparent, copy, part)
            size += len(prepared.body)
            if len(prepared.body) > MAX_MESSAGE_BYTES or size > MAX_PUBLISHED_BYTES:
                raise Problem(
                    "body-too-large",
                    "the messages of the canvas are too large: every task of a chord's header "
                    "carries the body of the chord",
                    queued="no",
                )
            messages.append(prepared)
        await self._groups.keep(
            canvas.groups,
            frozenset(simple_headers(canvas.plan.line)),
            canvas.plan.chord_sizes,
            canvas.last_due_s,
        )
        confirms: list[asyncio.Future[None]] = []
        refusal: Problem | None = None
        for prepared in messages:
            try:
                async with asyncio.timeout(_ROOM_TIMEOUT_S):
                    await self._publisher.room()
                message_id = prepared.task_id[: -len(copy)] + copy if copy else None
                confirms.append(self._submission.publish(prepared, message_id=message_id))
            except TimeoutError:
                refusal = Problem("overloaded", "too many messages wait for a confirm", queued="no")
                break
            except Problem as problem:
                refusal = problem
                break
        ends = await asyncio.gather(*confirms, return_exceptions=True)
        refusals = [end for end in ends if isinstance(end, Problem)]
        if refusal is not None:
            refusals.append(refusal)
        if not refusals:
            return
        confirmed = [
            prepared.task_id for prepared, end in zip(messages, ends, strict=False) if end is None
        ]
        if not confirmed and all(problem.queued == "no" for problem in refusals):
            raise refusals[0]
        raise Problem(
            "unconfirmed",
            f"{len(confirmed)} of {len(messages)} messages were confirmed: {refusals[0].detail}",
            queued="unknown",
            task_id=canvas.result[0][0],
            members={"ids": canvas.ids, "confirmed": confirmed},
        )

    def _issue(self, canvas: CheckedCanvas, node: TaskNode | GroupNode, caller: Caller) -> str:
        if isinstance(node, GroupNode):
            return self._task_ids.issue(
                caller.tenant, tracked=False, group=True, delay_s=canvas.last_due_s
            )
        checked = canvas.checked[id(node)]
        return self._task_ids.issue(
            caller.tenant,
            tracked=checked.tracked,
            delay_s=canvas.due_s[id(node)] + checked.when.delay_s,
        )

    def _visit(
        self, canvas: CheckedCanvas, root: Node
    ) -> Iterator[tuple[TaskNode, tuple[int, ...], int]]:
        """Each task, how many parameters it may be given, and when it may begin.

        The caller puts what it checked into `canvas.checked` before it asks for the next.
        """

        def visit(
            node: Node, due_s: int, receives: tuple[int, ...]
        ) -> Iterator[tuple[TaskNode, tuple[int, ...], int]]:
            canvas.due_s[id(node)] = due_s
            match node:
                case TaskNode():
                    yield node, _NOTHING if node.immutable else receives, due_s
                    for link in node.links:
                        yield from visit(link, self._end_s(canvas, node), _RESULT)
                    for link in node.errbacks:
                        given = _FAILURE if isinstance(link, TaskNode) else _RESULT
                        yield from visit(link, self._end_s(canvas, node), given)
                case ChainNode():
                    for step in node.steps:
                        yield from visit(step, due_s, receives)
                        if not is_empty(step):
                            due_s, receives = self._end_s(canvas, step), _RESULT
                case GroupNode():
                    for member in node.members:
                        yield from visit(member, due_s, receives)
                case ChordNode():
                    yield from visit(node.header, due_s, receives)
                    yield from visit(node.body, self._end_s(canvas, node.header), _RESULT)

        return visit(root, 0, _NOTHING)

    def _end_s(self, canvas: CheckedCanvas, node: Node) -> int:
        """When a node that was visited is due to end at the earliest, links apart."""
        match node:
            case TaskNode():
                checked = canvas.checked.get(id(node))
                return canvas.due_s[id(node)] + (checked.when.delay_s if checked else 0)
            case ChainNode():
                return self._end_s(canvas, node.steps[-1])
            case GroupNode():
                return max(
                    (self._end_s(canvas, member) for member in node.members),
                    default=canvas.due_s[id(node)],
                )
            case ChordNode():
                return self._end_s(canvas, node.body)


def later_options(checked: Checked, traceparent: str | None) -> dict[str, Any]:
    """The options with which a worker will publish a task: those of Celery's `apply_async`.

    Args:
        checked: The task.
        traceparent: W3C trace context to carry on.
    """
    options, when = checked.request.options, checked.when
    headers: dict[str, Any] = {**(options.headers or {}), TENANT_HEADER: checked.tenant}
    if traceparent is not None:
        headers["traceparent"] = traceparent
    if options.callback_url is not None:
        headers[callback_events.HEADER] = options.callback_url
    expires = when.expires if isinstance(options.expires, str) else options.expires
    told: dict[str, Any] = {
        "queue": options.queue,
        "exchange": options.exchange,
        "routing_key": options.routing_key,
        "priority": options.priority,
        "countdown": options.countdown,
        "eta": when.eta if options.eta is not None else None,
        "expires": expires,
        "time_limit": options.time_limit,
        "soft_time_limit": options.soft_time_limit,
        "ignore_result": options.ignore_result or None,
        "headers": headers,
    }
    if options.exchange is not None:
        told["routing_key"] = options.routing_key or ""
    return {name: value for name, value in told.items() if value is not None}
