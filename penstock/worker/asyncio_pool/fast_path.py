"""The short way of a plain delivery into the pool: past Celery's strategy, promises and request.

Plain is a message of one of our coroutine tasks, as the gateway and our own tasks publish it, that
may begin at once. Everything else (an ETA, an expiry, a rate limit, a redelivery, another protocol,
a message that is wrong in any way) is left to Celery's strategy, which does what has to be done.
"""

import logging
from typing import Any
from weakref import ref

from celery import Task, signals
from celery.app import trace
from celery.utils.log import get_logger
from celery.worker import state
from kombu.transport.pyamqp import Message

from penstock.wire.headers import JSON_HEADER
from penstock.wire.shown_arguments import HIDDEN
from penstock.worker.asyncio_pool.amqp_frames import Delivery
from penstock.worker.asyncio_pool.execution import Execution
from penstock.worker.asyncio_pool.outbox import Outbox
from penstock.worker.asyncio_pool.plans import Plan
from penstock.worker.asyncio_pool.prefetch_windows import PrefetchWindows
from penstock.worker.asyncio_pool.requests import Intake, LightRequest, OurRequest
from penstock.worker.asyncio_pool.task_events import LogLines, TaskEvents
from penstock.worker.consuming import flow
from penstock.worker.messages.envelope import body_parts, request_headers
from penstock.worker.messages.json_values import decode
from penstock.worker.running.runtime import Limits

_CELERYS = ("eta", "expires", "compression", "stamped_headers", "replaced_task_nesting")
"""Headers that, when they say something, need Celery's strategy."""

_NO_LIMITS = Limits()
_logger = get_logger("celery.worker.strategy")


class FastPath:
    """Makes requests of the plain deliveries of one connection.

    Args:
        consumer: Celery's.
        plans: of the tasks, by name.
        outbox: what answers the broker.
        windows: counts what was delivered.
        events: of the connection; None: there are none.
    """

    def __init__(
        self,
        consumer: Any,
        plans: dict[str, Plan],
        outbox: Outbox,
        windows: PrefetchWindows,
        events: TaskEvents | None,
    ) -> None:
        self._consumer = consumer
        self._channel = consumer.task_consumer.channel
        self._accept = consumer.task_consumer.accept
        self._windows = windows
        self._named = consumer.app.layout.named
        self._lines = LogLines()
        self.told = self._lines.write
        """To be called when deliveries that came together have been taken."""
        self._hostname = consumer.hostname
        self._revoked = consumer.controller.state.revoked
        self._intakes = {
            name: Intake(
                app=consumer.app,
                task=plan.task,
                plan=plan,
                eventer=consumer.event_dispatcher,
                events=events,
                connection_errors=consumer.connection_errors,
                outbox=outbox,
            )
            for name, plan in plans.items()
            if plan.ours and _is_ours(plan.task, consumer.pool)
        }

    def execution_of(self, delivery: Delivery) -> Execution | None:
        """Return what is to be executed, reserved; None: the delivery is Celery's."""
        headers = delivery.properties.pop("application_headers", None)
        if headers is None or delivery.redelivered:
            return None
        try:
            intake = self._intakes.get(headers.get("task"))
            queue = self._windows.queue_of(delivery.consumer_tag)
            if intake is None or queue is None or not self._is_plain(intake, delivery, headers):
                return None
            _share_id(headers, delivery.properties)
            found = request_headers(headers, headers)
            parts = body_parts(decode(delivery.body, headers.get(JSON_HEADER)))
        except Exception:  # noqa: BLE001  # Celery's strategy finds the same, and what to do
            return None
        message: Any = self._message(delivery, queue)
        try:
            return self._reserve(intake, message, found, parts)
        except Exception:
            message.counted()  # Celery's way counts it again
            flow.taken[message.queue_name] -= 1
            raise

    def _is_plain(self, intake: Intake, delivery: Delivery, headers: dict[str, Any]) -> bool:
        properties = delivery.properties
        return (
            properties.get("content_type") == "application/json"
            and properties.get("content_encoding") == "utf-8"
            and not any(headers.get(name) for name in _CELERYS)
            and not self._consumer.task_buckets.get(intake.task.name)
            and not state.revoked_stamps
            and headers.get("id") not in self._revoked
        )

    def _message(self, delivery: Delivery, queue: str) -> Message:
        """Make kombu's message, as its `__init__` would of py-amqp's."""
        message: Any = Message.__new__(Message)
        message.errors = []
        message.channel = self._channel
        message.delivery_tag = delivery.delivery_tag
        message.content_type = "application/json"
        message.content_encoding = "utf-8"
        message.delivery_info = {
            "consumer_tag": delivery.consumer_tag,
            "delivery_tag": delivery.delivery_tag,
            "redelivered": False,
            "exchange": delivery.exchange,
            "routing_key": delivery.routing_key,
        }
        message.headers = {}  # in the request
        message.properties = delivery.properties
        message.body = b""  # decoded, and of some megabytes perhaps
        message.counted = self._windows.arrived(delivery.consumer_tag, len(delivery.body))
        message.accept = self._accept
        message._decoded_cache = None  # noqa: SLF001  # as `__init__`
        message._state = "RECEIVED"  # noqa: SLF001
        message.queue_name = queue = self._named(queue)
        flow.taken[queue] += 1
        return message  # type: ignore[no-any-return]

    def _reserve(
        self, intake: Intake, message: Any, headers: dict[str, Any], parts: list[Any]
    ) -> Execution:
        properties, info = message.properties, message.delivery_info
        args, kwargs, follow = parts
        request = {
            **headers,
            **follow,
            "args": args,
            "kwargs": kwargs,
            "is_eager": False,
            "hostname": self._hostname,
            "properties": properties,
            "reply_to": properties.get("reply_to"),
            "correlation_id": properties.get("correlation_id"),
            "delivery_info": {
                "exchange": info["exchange"],
                "routing_key": info["routing_key"],
                "priority": properties.get("priority"),
                "redelivered": False,
                "queue": message.queue_name,
            },
        }
        if not intake.task.show_arguments:
            request["argsrepr"] = request["kwargsrepr"] = HIDDEN
        one = LightRequest(message, request, intake)
        state.requests[one.id] = one
        state.reserved_requests.add(one)
        execution = Execution(intake.plan, request, one, _NO_LIMITS)
        self._tell_received(one, intake, execution.request_id)
        one._apply_result = ref(execution)  # noqa: SLF001  # as `execute_using_pool` does
        return execution

    def _tell_received(self, one: LightRequest, intake: Intake, request_id: str) -> None:
        if _logger.isEnabledFor(logging.INFO):
            fields = {
                "id": one.id,
                "name": one.name,
                "args": one.argsrepr,
                "kwargs": one.kwargsrepr,
                "eta": None,
            }
            self._lines.add(_logger, trace.LOG_RECEIVED, fields, request_id)
        if signals.task_received.receivers:
            signals.task_received.send(sender=self._consumer, request=one)
        events = intake.events
        if events is not None and events.enabled and intake.task.send_events:
            events.send(
                "task-received",
                one.id,
                name=one.name,
                args=one.argsrepr,
                kwargs=one.kwargsrepr,
                root_id=one.root_id,
                parent_id=one.parent_id,
                retries=one.request_dict.get("retries", 0),
                eta=None,
                expires=None,
            )


def _is_ours(task: Any, pool: Any) -> bool:
    """Return whether Celery's way would take our request and its own strategy."""
    return task.Request is OurRequest and pool.strategy_of(task) == Task.Strategy


def _share_id(headers: dict[str, Any], properties: dict[str, Any]) -> None:
    """Keep the id once, which most messages have four times."""
    task_id = headers.get("id")
    if headers.get("root_id") == task_id:
        headers["root_id"] = task_id
    for name in ("correlation_id", "message_id"):
        if properties.get(name) == task_id:
            properties[name] = task_id
