"""A canvas from its tree to its confirms: checked whole, written down, then published."""

import asyncio
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.access.auth import Caller
from gateway.access.carried import Carried
from gateway.access.copies import Copy
from gateway.access.task_id import TaskIds
from gateway.canvas.canvas import (
    Opening,
    Result,
    group_of,
    group_result,
    line_of,
    opening,
    outcome,
    simple_headers,
)
from gateway.canvas.canvas_check import BREATH, CheckedCanvas, check_canvas
from gateway.canvas.canvas_depth import check_depth
from gateway.canvas.canvas_request import ChainNode, ChordNode, GroupNode, Node, TaskNode, walk
from gateway.canvas.canvas_weight import (
    MAX_MESSAGE_BYTES,
    MAX_PUBLISHED_BYTES,
    check_groups,
    check_weight,
    too_large,
)
from gateway.canvas.groups import Groups
from gateway.errors import Problem
from gateway.rabbitmq.burst import Burst
from gateway.submitting.celery_options import addressed, later_options, own_headers, unkept
from gateway.submitting.plan import CanvasPart, Stamp, TaskMessage, TaskPlan
from gateway.submitting.submission import Submission


@dataclass(slots=True, kw_only=True)
class CanvasPlan:
    """A canvas with its ids, ready to be published."""

    root: Node
    opening: Opening
    plans: dict[int, TaskPlan]
    """Of each task, by the identity of its node."""
    groups: dict[str, Result]
    result: Result
    last_due_s: int
    ids: list[str]
    """Of every task and group, in the order of the request."""
    carried: Carried
    """What the messages say of the request."""
    tenant: str
    """Is charged for what is written down of the groups."""


class CanvasSubmission:
    """Checks and publishes canvases.

    Args:
        submission: Plans, builds and publishes single tasks.
        task_ids: Issues the ids of groups.
        groups: Keeps who belongs together.
    """

    def __init__(self, submission: Submission, task_ids: TaskIds, groups: Groups) -> None:
        self._submission = submission
        self._task_ids = task_ids
        self._groups = groups

    async def check(self, root: Node, caller: Caller) -> CheckedCanvas:
        """Check every task as if it were submitted alone; see `check_canvas`."""
        return await check_canvas(root, caller, self._submission)

    def plan(
        self, canvas: CheckedCanvas, carried: Carried, ids: list[str] | None = None
    ) -> CanvasPlan:
        """Give every node its id.

        Args:
            canvas: From `check`.
            carried: What the messages say of the request.
            ids: Of an earlier try, in the order of the request; None: new ones.

        Raises:
            Problem: `invalid-request`, `body-too-large` (queued: no): workers could not carry it
                out, or it takes too much. `rate-limited` (no): the tenant keeps too many results.
        """
        given = iter(ids or ())
        apps = any(plan.destination.apps for plan in canvas.plans.values())
        used: list[str] = []
        later: dict[int, dict[str, Any]] = {}  # tasks without options share a plan
        for node in walk(canvas.root):
            if isinstance(node, ChainNode | ChordNode):
                continue
            node.id = next(given) if ids is not None else self._issue(canvas, node)
            used.append(node.id)
            if isinstance(node, TaskNode):
                plan = canvas.plans[id(node)]
                options = later.get(id(plan))
                if options is None:
                    headers = own_headers(plan.options, plan.tenant, carried)
                    headers |= unkept(plan)
                    options = later_options(plan.options, headers, plan.when)
                    if apps:
                        options |= addressed(plan.destination)
                    later[id(plan)] = options
                node.options = options
        groups = [node for node in walk(canvas.root) if isinstance(node, GroupNode)]
        if groups:
            self._groups.check_room(canvas.caller.tenant)
            check_groups(canvas.root)
        line = line_of(canvas.root)
        check_depth(line, apps=apps)
        check_weight(line)
        return CanvasPlan(
            root=canvas.root,
            opening=opening(line),
            plans=canvas.plans,
            groups={node.id: group_result(group_of(node)) for node in groups},
            result=outcome(line),
            last_due_s=canvas.last_due_s,
            ids=used,
            carried=carried,
            tenant=canvas.caller.tenant,
        )

    async def publish(self, canvas: CanvasPlan, nonce: str | None = None) -> None:
        """Write down who belongs together, then publish the first messages.

        Args:
            canvas: From `plan`.
            nonce: Names this copy where the same ids may be published twice.

        Raises:
            Problem: `body-too-large`, `state-unavailable` (queued: no); what the publisher
                refuses when nothing was published (no); `unconfirmed` (unknown), with the ids that
                were confirmed, when only a part was.
        """
        tasks = [node for node in walk(canvas.root) if isinstance(node, TaskNode)]
        kept = self._submission.callbacks_kept((canvas.plans[id(one)], one.id) for one in tasks)
        async with kept:
            await self._publish_whole(canvas, nonce)

    async def _publish_whole(self, canvas: CanvasPlan, nonce: str | None) -> None:
        messages = await self._messages(canvas, nonce)
        await self._groups.keep(
            canvas.groups,
            frozenset(simple_headers(canvas.opening.line)),
            canvas.opening.chord_sizes,
            canvas.last_due_s,
            canvas.tenant,
        )
        confirms, refusals = await self._publish(messages)
        ends = await asyncio.gather(*confirms, return_exceptions=True)
        refusals = [*(end for end in ends if isinstance(end, Problem)), *refusals]
        if not refusals:
            return
        confirmed = [
            message.task_id for message, end in zip(messages, ends, strict=False) if end is None
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

    async def _messages(self, canvas: CanvasPlan, nonce: str | None) -> list[TaskMessage]:
        """Build the messages that the gateway publishes.

        Raises:
            Problem: `body-too-large` (queued: no).
        """
        messages = []
        size = 0
        for count, start in enumerate(canvas.opening.starts):
            if count % BREATH == BREATH - 1:
                await asyncio.sleep(0)
            node = start.node
            part = CanvasPart(
                embed=msgspec.json.encode(start.embed),
                group_id=start.membership.group_id,
                group_index=start.membership.index,
                given=b"[]" if start.given else b"",
            )
            copy = Copy(node.id, nonce) if nonce else None
            stamp = Stamp(copy=copy, part=part)
            plan = canvas.plans[id(node)]
            message = self._submission.message(plan, node.request, node.id, stamp, canvas.carried)
            size += len(message.body)
            if len(message.body) > MAX_MESSAGE_BYTES or size > MAX_PUBLISHED_BYTES:
                raise too_large()
            message.callback = None  # kept with all others
            messages.append(message)
        return messages

    async def _publish(
        self, messages: list[TaskMessage]
    ) -> tuple[list["asyncio.Future[None]"], list[Problem]]:
        """Publish up to the first that is refused: the confirms, and why the rest is not sent."""
        confirms: list[asyncio.Future[None]] = []
        burst = Burst()
        for message in messages:
            try:
                if not self._submission.has_room():
                    await self._submission.room()
                confirms.append(self._submission.publish(message, burst))
            except Problem as problem:
                return confirms, [problem]
        return confirms, []

    def _issue(self, canvas: CheckedCanvas, node: TaskNode | GroupNode) -> str:
        if isinstance(node, TaskNode):
            return self._submission.issue(canvas.plans[id(node)], canvas.due_s[id(node)])
        return self._task_ids.issue(
            canvas.caller.tenant, tracked=False, group=True, delay_s=canvas.last_due_s
        )
