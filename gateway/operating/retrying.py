"""Tasks are published again with the arguments that history kept, each under a new id.

The new id is stored before anything is published: a gateway that goes on publishes under the same
id, and of two messages with one id the worker starts one.
"""

import asyncio
import uuid
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import msgspec

from gateway.access.auth import Caller
from gateway.access.copies import Copy
from gateway.access.task_id import TaskIds
from gateway.errors import Problem
from gateway.history.client import HistoryClient
from gateway.history.rows import CELERYS, MIXED, Item, KeptRequest
from gateway.operating.follow_ups import FollowUpsError, renewed
from gateway.operating.history_work import Slice, assigned, passing
from gateway.sharing.tenant import TENANT
from gateway.submitting.plan import CanvasPart, Stamp, TaskPlan, Terms
from gateway.submitting.submission import Submission
from gateway.submitting.task_request import (
    HIGHEST_PRIORITY,
    Options,
    TaskRequest,
    check_form,
)
from penstock.wire.history_queries import NO_REQUEST
from penstock.wire.ingest import STORE_TASK
from topology.model import Topology

_MIXED_JSON: Final = "mixed-json"
"""The code of a task some of whose objects are data, and some values of Celery's."""
_INGEST_ONLY: Final = "ingest-only"
"""The code of a batch of documents: they are sent again by ingest, which stores none twice."""
_ABSENT: Final = "unknown-task"
_NOT_JSON: Final = "malformed-json"
_NONCE_HEX: Final = 16


class Retrying:
    """Publishes tasks again.

    Args:
        history: Keeps the requests, and the new ids.
        submission: Publishes.
        task_ids: Issues ids of what follows.
        topology: The queues that there are.
    """

    def __init__(
        self,
        history: HistoryClient,
        submission: Submission,
        task_ids: TaskIds,
        topology: Topology,
    ) -> None:
        self._history = history
        self._submission = submission
        self._task_ids = task_ids
        self._topology = topology

    def __repr__(self) -> str:
        """Say whom it asks."""
        return f"<Retrying {self._history!r}>"

    async def retry(self, one: Slice, items: Sequence[Item]) -> dict[int, str | None]:
        """Publish tasks again; return what became of those that are settled.

        Raises:
            HistoryAwayError: The new ids are not stored; nothing was published.
        """
        ends: dict[int, str | None] = {}
        planned: list[tuple[Item, TaskPlan, TaskRequest]] = []
        callers: dict[str | None, Caller] = {}
        absent: set[str | None] = set()
        for item in items:
            if item.task in absent:  # to find that out takes a look at its queue
                ends[item.n] = _ABSENT
                continue
            caller = callers.setdefault(item.tenant, one.for_tenant(item.tenant))
            try:
                plan, request = await self._plan(item, caller)
            except Problem as problem:
                if passing(problem):
                    break  # those behind it wait, too: the order stays
                ends[item.n] = problem.code
                if problem.code == _ABSENT:
                    absent.add(item.task)
            else:
                planned.append((item, plan, request))
        new = {
            item.n: self._submission.issue(plan) for item, plan, _ in planned if item.new_id is None
        }
        stored = await assigned(self._history, one.operation, new)
        outcomes = await asyncio.gather(
            *(
                self._publish(item, plan, request, item.new_id or stored[item.n])
                for item, plan, request in planned
            )
        )
        for (item, _, _), outcome in zip(planned, outcomes, strict=True):
            if outcome is None or not passing(outcome):
                ends[item.n] = None if outcome is None else outcome.code
        return ends

    async def _plan(self, item: Item, caller: Caller) -> tuple[TaskPlan, TaskRequest]:
        """Check a task as if it were submitted, for the tenant whose it was.

        Raises:
            Problem: Why it cannot be published, or not now.
        """
        kept = item.request
        if item.code is not None or kept is None or kept.args is None or not item.task:
            raise _Refusal(item.code or NO_REQUEST)
        if item.task == STORE_TASK:
            raise _Refusal(_INGEST_ONLY)
        TENANT.set(caller.tenant)
        request = TaskRequest(
            item.task,
            msgspec.Raw(kept.args.encode()),
            msgspec.Raw((kept.kwargs or "{}").encode()),
            _options(kept),
        )
        check_form(request)
        if kept.meaning == MIXED:
            raise _Refusal(_MIXED_JSON)
        request = self._to_its_queue(request, kept.options.get("queue"))
        terms = Terms(tenant=caller.tenant, envelopes=kept.meaning == CELERYS, idle_priority=True)
        return await self._submission.plan(request, caller, terms), request

    def _to_its_queue(self, request: TaskRequest, taken_from: Any) -> TaskRequest:
        """Name the queue that a task was taken from, where its route leads elsewhere."""
        queue = self._topology.named(taken_from) if isinstance(taken_from, str) else None
        route = self._topology.route(request.task)
        if queue not in self._topology.queues or route is None:
            return request
        seen = {**(request.options.headers or {}), "task": request.task}
        if self._topology.match(route.exchange, route.routing_key, seen) == (queue,):
            return request
        options = msgspec.structs.replace(request.options, queue=queue)
        return msgspec.structs.replace(request, options=options)

    async def _publish(
        self, item: Item, plan: TaskPlan, request: TaskRequest, new_id: str
    ) -> Problem | None:
        """Publish one task; return why it was not, or may not have been."""
        TENANT.set(plan.tenant)
        embed = item.request.embed if item.request is not None else None
        copy = Copy(new_id, uuid.uuid4().hex[:_NONCE_HEX])
        try:
            follows = renewed(embed, partial(self._issue, plan.tenant))
            stamp = Stamp(
                copy=copy,
                part=CanvasPart(embed=follows),
                retried_from=item.id,
                envelopes=item.request is not None and item.request.meaning == CELERYS,
            )
            message = self._submission.message(plan, request, new_id, stamp)
            await self._submission.publish(message)
        except FollowUpsError as error:
            return Problem(_NOT_JSON, str(error))
        except Problem as problem:
            return problem
        return None

    def _issue(self, tenant: str, group: bool) -> str:  # noqa: FBT001  # see `Issue`
        return self._task_ids.issue(tenant, group=group)


class _Refusal(Problem):
    """A task that cannot be published, for a reason that is no refusal of a submit."""

    def __init__(self, code: str) -> None:
        super().__init__("invalid-request", code)
        self.code = code

    @property
    def status(self) -> int:
        """As of an invalid request: it does not pass."""
        return 400


def _options(kept: KeptRequest) -> Options:
    """Return the options of a task as they were kept, but where it goes, and when."""
    known: dict[str, Any] = kept.options
    headers = known.get("headers")
    values = {
        name: known[name]
        for name in ("time_limit", "soft_time_limit", "callback_url")
        if known.get(name) is not None
    }
    priority = known.get("priority")
    if isinstance(priority, int) and priority > 0:  # kombu writes 0 where a client says none
        values["priority"] = min(priority, HIGHEST_PRIORITY)
    if known.get("ignore_result") is True:
        values["ignore_result"] = True
    if isinstance(headers, dict):
        plain = {
            name: value
            for name, value in headers.items()
            if isinstance(value, str | int | float | bool | None)
        }
        values["headers"] = plain or None
    try:
        return msgspec.convert(values, Options)
    except msgspec.ValidationError as error:
        raise Problem("invalid-request", str(error)) from error
