"""One task from its JSON to its confirm: the hot path, shared by submit, bulk and canvas."""

import asyncio
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import msgspec

from gateway.access.auth import Caller
from gateway.access.kept_results import KeptResults
from gateway.access.task_id import TaskIds
from gateway.config import GatewayConfig
from gateway.endings import callback_events
from gateway.endings.callback_events import CallbackEvents
from gateway.endings.callback_post import check_url
from gateway.errors import Problem, invalid_request
from gateway.rabbitmq.publisher import Publisher
from gateway.rabbitmq.queue_depths import QueueDepths, queue_full
from gateway.rabbitmq.task_message import (
    NOTHING_FOLLOWS,
    MessageOptions,
    Template,
    cached_template,
    task_body,
    template,
    with_first,
)
from gateway.submitting.absent_tasks import AbsentTasks, Answer
from gateway.submitting.catalog import Catalog
from gateway.submitting.destinations import Destination, Destinations
from gateway.submitting.prepared import CanvasPart, Checked, Prepared
from gateway.submitting.priorities import check_priority
from gateway.submitting.task_request import NO_OPTIONS, TaskRequest, parse, times
from penstock.wire.headers import TENANT_HEADER
from penstock.wire.names import BROADCAST_EXCHANGE
from topology.model import Topology


class Submission:
    """Checks and publishes tasks.

    Args:
        config: Bounds and callback rules.
        topology: Where tasks go.
        task_ids: Issues the ids.
        catalog: Checks arguments against what workers announced.
        depths: Knows which queues are full.
        publisher: Publishes.
        origin: Who publishes, `penstock@host`.
        callbacks: Remembers where ends are told.
        kept: Knows which tenants keep too many results.
    """

    def __init__(
        self,
        config: GatewayConfig,
        topology: Topology,
        task_ids: TaskIds,
        catalog: Catalog,
        depths: QueueDepths,
        publisher: Publisher,
        origin: str,
        callbacks: CallbackEvents,
        kept: KeptResults,
    ) -> None:
        self._config = config
        self._topology = topology
        self._task_ids = task_ids
        self._catalog = catalog
        self._depths = depths
        self._publisher = publisher
        self._origin = origin
        self._callbacks = callbacks
        self._kept = kept
        self._id_length = len(task_ids.issue(""))
        self._destinations = Destinations(topology)
        self.absent = AbsentTasks(topology, catalog, depths)
        """Knows which tasks no worker has."""
        self._plain = lru_cache(maxsize=4096)(self._plan)

    def prepare(
        self, body: bytes | TaskRequest, caller: Caller, traceparent: str | None = None
    ) -> Prepared:
        """Check one submit and build its message.

        Args:
            body: JSON of one task, or what it was parsed to.
            caller: Who submits.
            traceparent: W3C trace context to carry on.

        Raises:
            Problem: Every refusal that is known before anything is written (queued: no).
            SeemsAbsentError: No worker seems to have the task; see `surely`.
        """
        request = parse(body) if isinstance(body, bytes) else body
        if request.options is NO_OPTIONS and traceparent is None:
            return self._prepare_plain(request, caller)
        return self.prepare_request(request, caller, traceparent)

    async def surely(self, attempt: Callable[[], Answer]) -> Answer:
        """Do what prepares or checks tasks; see `AbsentTasks.surely`."""
        return await self.absent.surely(attempt)

    def _prepare_plain(self, request: TaskRequest, caller: Caller) -> Prepared:
        """The same for a submit without options, whose destination and template recur."""
        destination, plain = self._plain(request.task, caller)
        self.absent.check(request.task, destination.queues, caller)
        self._check_room(destination)
        self._kept.check(caller.tenant)
        args, kwargs = bytes(request.args), bytes(request.kwargs)
        self._catalog.check(request.task, args, kwargs)
        tracked = len(destination.queues) == 1
        return Prepared(
            task=request.task,
            task_id=self._task_ids.issue(caller.tenant, tracked=tracked),
            template=plain,
            body=task_body(args, kwargs, NOTHING_FOLLOWS),
            queues=destination.queues,
            tracked=tracked,
        )

    def _plan(self, task: str, caller: Caller) -> tuple[Destination, Template]:
        """Where a submit without options goes, and its template."""
        destination = self._destinations.resolve(task, caller, None, None, None)
        return destination, self._plain_template(
            task, caller.tenant, destination.exchange, destination.routing_key
        )

    def _plain_template(self, task: str, tenant: str, exchange: str, routing_key: str) -> Template:
        return cached_template(
            task,
            exchange,
            routing_key,
            _plain_options(tenant),
            origin=self._origin,
            id_length=self._id_length,
        )

    def _check_room(self, destination: Destination) -> None:
        """Let a message through unless a queue is full.

        Raises:
            Problem: `queue-full` (queued: no).
        """
        for queue in destination.queues:
            if self._depths.full(queue):
                limit = self._topology.queues[queue].limit
                raise Problem("queue-full", queue_full(queue, limit), queued="no")

    def prepare_request(
        self,
        request: TaskRequest,
        caller: Caller,
        traceparent: str | None = None,
        *,
        task_id: str | None = None,
        copy: str | None = None,
    ) -> Prepared:
        """Check one parsed submit and build its message; see `prepare`.

        Args:
            request: The task.
            caller: Who submits.
            traceparent: W3C trace context to carry on.
            task_id: An id issued before, for a second copy; None: a new one.
            copy: Names this copy where the same id may be published twice.
        """
        checked = self.check(request, caller)
        task_id = task_id or self._task_ids.issue(
            caller.tenant, tracked=checked.tracked, delay_s=checked.when.delay_s
        )
        return self.build(checked, task_id, traceparent, copy)

    def check(
        self, request: TaskRequest, caller: Caller, *, receives: int = 0, now: bool = True
    ) -> Checked:
        """Check one parsed submit.

        Args:
            request: The task.
            caller: Who submits.
            receives: How many of its parameters the task before it in a canvas will give.
            now: It will be published now: a full queue refuses it.

        Raises:
            Problem: Every refusal that is known before anything is written (queued: no).
        """
        options = request.options
        destination = self._destinations.resolve(
            request.task,
            caller,
            options.queue,
            options.exchange,
            options.routing_key,
            options.headers,
        )
        self.absent.check(request.task, destination.queues, caller)
        if options.priority is not None:
            queues = [self._topology.queues[name] for name in destination.queues]
            check_priority(queues, self._publisher.rabbitmq_major)
        if now:
            self._check_room(destination)
            if not options.ignore_result:
                self._kept.check(caller.tenant)
        args, kwargs = bytes(request.args), bytes(request.kwargs)
        self._catalog.check(request.task, args, kwargs, skip=receives)
        when = times(options, time.time())
        if options.callback_url is not None:
            check_url(options.callback_url, self._topology, self._config.callback_hosts)
        return Checked(
            request,
            caller.tenant,
            destination,
            when,
            self._destinations.address(destination, when.delay_s),
            tracked=len(destination.queues) == 1 and not options.ignore_result,
        )

    def authorise(self, request: TaskRequest, caller: Caller) -> None:
        """Check only whether the caller may submit a task there.

        Args:
            request: The task.
            caller: On whose behalf.

        Raises:
            Problem: `forbidden`, `unknown-task`, `unknown-queue`, … (queued: no).
        """
        options = request.options
        self._destinations.resolve(
            request.task,
            caller,
            options.queue,
            options.exchange,
            options.routing_key,
            options.headers,
        )

    def build(
        self,
        checked: Checked,
        task_id: str,
        traceparent: str | None = None,
        copy: str | None = None,
        canvas: CanvasPart | None = None,
    ) -> Prepared:
        """Build the message of a checked task.

        Args:
            checked: From `check`.
            task_id: Its id.
            traceparent: W3C trace context to carry on.
            copy: Names this copy where the same id may be published twice.
            canvas: Its place in a canvas.
        """
        request = checked.request
        args, kwargs = bytes(request.args), bytes(request.kwargs)
        if canvas and canvas.given:
            args = with_first(args, canvas.given)
        self.remember_callback(checked, task_id)
        return Prepared(
            task=request.task,
            task_id=task_id,
            template=self._template(checked, traceparent, copy, canvas),
            body=task_body(args, kwargs, canvas.embed if canvas else NOTHING_FOLLOWS),
            queues=checked.destination.queues,
            tracked=checked.tracked,
        )

    def prepare_broadcast(
        self, body: bytes, caller: Caller, traceparent: str | None = None
    ) -> Prepared:
        """Check one submit to every worker and build its message.

        Its id is untracked and no result is kept: several workers would write the same record.

        Args:
            body: JSON of one task; its options may not choose a destination.
            caller: Who submits: `admin`, so that no key is bound to some queues.
            traceparent: W3C trace context to carry on.

        Raises:
            Problem: Every refusal that is known before anything is written (queued: no).
        """
        request = parse(body)
        options = request.options
        if (options.queue, options.exchange, options.routing_key) != (None, None, None):
            raise invalid_request("$.options", "A broadcast has no destination", queued="no")
        self._destinations.anywhere(request.task, caller)
        self.absent.check(request.task, (), caller)
        if options.priority is not None:
            check_priority((), self._publisher.rabbitmq_major)
        args, kwargs = bytes(request.args), bytes(request.kwargs)
        self._catalog.check(request.task, args, kwargs)
        when = times(options, time.time())
        destination = Destination(BROADCAST_EXCHANGE, "", ())
        options = msgspec.structs.replace(options, ignore_result=True)
        if options.callback_url is not None:
            check_url(options.callback_url, self._topology, self._config.callback_hosts)
        checked = Checked(
            msgspec.structs.replace(request, options=options),
            caller.tenant,
            destination,
            when,
            self._destinations.address(destination, when.delay_s),
            tracked=False,
        )
        task_id = self._task_ids.issue(caller.tenant, tracked=False, delay_s=when.delay_s)
        return self.build(checked, task_id, traceparent)

    def publish(
        self, prepared: Prepared, *, message_id: str | None = None
    ) -> "asyncio.Future[None]":
        """Publish it; see `Publisher.publish` for the outcomes."""
        return self._publisher.publish(
            prepared.template,
            prepared.task_id,
            prepared.body,
            queue_count=len(prepared.queues),
            message_id=message_id,
        )

    def _template(
        self,
        checked: Checked,
        traceparent: str | None,
        copy: str | None,
        canvas: CanvasPart | None,
    ) -> Template:
        options, when = checked.request.options, checked.when
        exchange, routing_key = checked.address
        group_id, group_index = (canvas.group_id, canvas.group_index) if canvas else (None, None)
        if options is NO_OPTIONS and traceparent is None and copy is None and group_id is None:
            return self._plain_template(checked.request.task, checked.tenant, exchange, routing_key)
        headers: list[tuple[str, Any]] = list((options.headers or {}).items())
        headers.append((TENANT_HEADER, checked.tenant))
        if traceparent is not None:
            headers.append(("traceparent", traceparent))
        if copy is not None:
            headers.append(("x-penstock-copy", copy))
        if options.callback_url is not None:
            headers.append((callback_events.HEADER, options.callback_url))
        return template(
            checked.request.task,
            exchange,
            routing_key,
            MessageOptions(
                eta=when.eta,
                expires=when.expires,
                expiration_ms=when.expiration_ms,
                time_limit_s=options.time_limit,
                soft_time_limit_s=options.soft_time_limit,
                priority=options.priority,
                ignore_result=options.ignore_result,
                group_id=group_id,
                group_index=group_index,
                headers=tuple(headers),
            ),
            origin=self._origin,
            id_length=self._id_length,
        )

    def remember_callback(self, checked: Checked, task_id: str) -> None:
        """Remember where the end of a task is told, if it is.

        Args:
            checked: The task.
            task_id: Its id.
        """
        url = checked.request.options.callback_url
        if url is not None:
            self._callbacks.remember(task_id, url, checked.request.task, checked.when.delay_s)


@lru_cache(maxsize=4096)
def _plain_options(tenant: str) -> MessageOptions:
    """The options of a submit without any."""
    return MessageOptions(headers=((TENANT_HEADER, tenant),))
