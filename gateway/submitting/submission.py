"""One task from its JSON to its confirm: the hot path, and the only way to a task's message."""

import asyncio
import time
import uuid
from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import lru_cache, partial

from gateway.access.auth import Caller
from gateway.access.carried import Carried
from gateway.access.copies import Copy
from gateway.access.task_id import TaskIds
from gateway.endings.kept_callbacks import Callback, KeptCallbacks
from gateway.rabbitmq.burst import Burst
from gateway.rabbitmq.publisher import Publisher
from gateway.rabbitmq.task_message import Template, task_body, template, with_first
from gateway.submitting.absent_tasks import SeemsAbsentError
from gateway.submitting.accepted import Accepted
from gateway.submitting.celery_options import for_apps, message_options
from gateway.submitting.plan import PLAIN, SUBMITTED, Stamp, TaskMessage, TaskPlan, Terms
from gateway.submitting.planning import Planner
from gateway.submitting.shown import shown
from gateway.submitting.task_request import NO_OPTIONS, TaskRequest, parse


class Submission:
    """Publishes tasks.

    Args:
        planner: Checks them.
        task_ids: Issues the ids.
        publisher: Publishes.
        callbacks: Keeps where ends are announced.
        origin: Who publishes, `penstock@host`.
        accepted: Tells history of what was published; None: there is no history.
    """

    def __init__(
        self,
        planner: Planner,
        task_ids: TaskIds,
        publisher: Publisher,
        callbacks: KeptCallbacks,
        origin: str,
        accepted: Accepted | None = None,
    ) -> None:
        self._accepted = accepted
        self._planner = planner
        self._task_ids = task_ids
        self._publisher = publisher
        self._callbacks = callbacks
        self._origin = origin
        self._reply_to = str(uuid.uuid4())
        self._id_length = len(task_ids.issue(""))
        self.absent = planner.absent
        """Knows which tasks no worker has."""
        self._plain_template = lru_cache(maxsize=4096)(self._make_template)

    async def submit(
        self,
        task: bytes | TaskRequest,
        caller: Caller,
        carried: Carried | None = None,
        terms: Terms = SUBMITTED,
    ) -> TaskMessage:
        """Publish one task; return its message once RabbitMQ confirmed it.

        Args:
            task: JSON of one task, or what it was parsed to.
            caller: Who submits.
            carried: What the message says of its request.
            terms: What for.

        Raises:
            Problem: As `prepare` (queued: no) and `Publisher.publish`.
        """
        try:
            message = self.prepare(task, caller, carried, terms)
        except SeemsAbsentError as seems:
            attempt = partial(self.prepare, task, caller, carried, terms)
            message = await self.absent.again(seems, attempt)
        await self.publish(message)
        return message

    def prepare(
        self,
        task: bytes | TaskRequest,
        caller: Caller,
        carried: Carried | None = None,
        terms: Terms = SUBMITTED,
        copy: Copy | None = None,
    ) -> TaskMessage:
        """Check one submit and build its message.

        Args:
            task: JSON of one task, or what it was parsed to.
            caller: Who submits.
            carried: What the message says of its request.
            terms: What for.
            copy: Where the same id may be published twice; None: a new id.

        Raises:
            Problem: Every refusal that is known before anything is written (queued: no).
            SeemsAbsentError: No worker seems to have the task; see `AbsentTasks.surely`.
        """
        request = parse(task) if isinstance(task, bytes) else task
        plan = self._planner.plan(request, caller, terms)
        if copy is None:
            task_id = self.issue(plan)
            stamp = PLAIN
        else:
            task_id = copy.task_id
            stamp = Stamp(copy=copy)
        return self.message(plan, request, task_id, stamp, carried)

    async def plan(
        self, request: TaskRequest, caller: Caller, terms: Terms = SUBMITTED
    ) -> TaskPlan:
        """Check one task that is published later, or by a worker.

        Raises:
            Problem: As `Planner.plan`.
        """
        return await self.absent.surely(partial(self._planner.plan, request, caller, terms))

    def issue(self, plan: TaskPlan, due_s: int = 0) -> str:
        """Make the id of a task.

        Args:
            plan: Of the task.
            due_s: When what it waits for is due to end; seconds from now.
        """
        delay_s = due_s + plan.when.delay_s
        return self._task_ids.issue(
            plan.tenant, tracked=plan.tracked, delay_s=delay_s, apps=plan.destination.apps
        )

    def message(
        self,
        plan: TaskPlan,
        request: TaskRequest,
        task_id: str,
        stamp: Stamp = PLAIN,
        carried: Carried | None = None,
    ) -> TaskMessage:
        """Build the message of a planned task.

        Args:
            plan: What all of its messages have in common.
            request: Its arguments.
            task_id: Its id.
            stamp: What this message says besides.
            carried: What it says of its request.
        """
        part, copy, callback = stamp.part, stamp.copy, None
        args: bytes = request.args
        if part.given:
            args = with_first(args, part.given)
        if plan.destination.apps:
            made = self._make_template(plan, stamp, shown(plan, args, request.kwargs))
            callback = self._callback(plan, task_id)
        elif plan.options is NO_OPTIONS and stamp is PLAIN:
            made = self._plain_template(plan)
        else:
            made = self._make_template(plan, stamp)
            callback = self._callback(plan, task_id)
        return TaskMessage(
            plan.task,
            task_id,
            made,
            task_body(args, request.kwargs, part.embed),
            plan.destination.queues,
            plan.tracked,
            copy.message_id if copy else None,
            carried,
            callback,
            plan,
            stamp.retried_from,
        )

    def publish(self, message: TaskMessage, burst: Burst | None = None) -> "asyncio.Future[None]":
        """Publish it; see `Publisher.publish` for the outcomes.

        A callback that must be kept is kept before; `rate-limited` and `state-unavailable`
        (queued: no) say that it was not.

        Args:
            message: From `prepare` or `message`.
            burst: What it is one of many of; None: it is alone.
        """
        callback = message.callback
        if callback is not None and callback.looked_after:
            return self._callbacks.first(callback, partial(self._publish, message, burst))
        confirm = self._publish(message, burst)
        if callback is not None:
            self._callbacks.remember(callback, confirm)
        return confirm

    def _publish(self, message: TaskMessage, burst: Burst | None) -> "asyncio.Future[None]":
        carried = message.carried
        if carried is None or carried.trace is None:
            return self._write(message, b"" if carried is None else carried.fields(), burst)
        made = message.template
        address = made.exchange, made.routing_key
        span = carried.trace.publish(message.task, message.task_id, address, len(message.body))
        try:
            confirm = self._write(message, carried.fields(span.traceparent), burst)
        except BaseException as error:
            span.failed(error)
            raise
        confirm.add_done_callback(span.confirmed)
        return confirm

    def _write(
        self, message: TaskMessage, headers: bytes, burst: Burst | None
    ) -> "asyncio.Future[None]":
        confirm = self._publisher.publish(
            message.template,
            message.task_id,
            message.body,
            queue_count=len(message.queues),
            message_id=message.message_id,
            headers=headers,
            burst=burst,
        )
        if self._accepted is not None and message.tracked:
            self._accepted.add(message, confirm)
        return confirm

    def has_room(self) -> bool:
        """Return whether there is room for more messages: what `room` waits for."""
        return self._publisher.has_room()

    async def room(self) -> None:
        """Wait until there is room for more messages: for many of one request.

        Raises:
            Problem: `broker-unavailable`, `overloaded` (queued: no).
        """
        await self._publisher.room()

    def callbacks_kept(
        self, tasks: Iterable[tuple[TaskPlan, str]]
    ) -> AbstractAsyncContextManager[None]:
        """Keep where the ends of tasks are announced, before the body publishes any of them.

        Args:
            tasks: Plans and ids.

        Raises:
            Problem: As `KeptCallbacks.kept`.
        """
        callbacks = (self._callback(plan, task_id) for plan, task_id in tasks)
        return self._callbacks.kept([one for one in callbacks if one is not None])

    def _callback(self, plan: TaskPlan, task_id: str) -> Callback | None:
        """Return what must be kept of a task; None: no callback is wanted."""
        url = plan.options.callback_url
        if url is None:
            return None
        due = int(time.time()) + plan.when.delay_s
        apps = plan.destination.apps
        return Callback(task_id, url, plan.task, due, looked_after=apps, tenant=plan.tenant)

    def _make_template(
        self, plan: TaskPlan, stamp: Stamp = PLAIN, shown_as: Mapping[str, str] | None = None
    ) -> Template:
        exchange, routing_key = plan.address
        options = message_options(plan, stamp)
        if shown_as is not None:
            options = for_apps(options, plan, self._reply_to, shown_as)
        return template(
            plan.task,
            exchange,
            routing_key,
            options,
            origin=self._origin,
            id_length=self._id_length,
        )
