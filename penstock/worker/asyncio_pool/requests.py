"""Celery's request, for a pool whose executions can be stopped; and a lighter one."""

import logging
import time
from dataclasses import dataclass
from typing import Any

from celery.utils.imports import symbol_by_name
from celery.worker import state

from penstock.wire.shown_arguments import shown
from penstock.worker import tally
from penstock.worker.asyncio_pool.execution import Execution
from penstock.worker.asyncio_pool.outbox import Outbox
from penstock.worker.asyncio_pool.plans import Plan
from penstock.worker.asyncio_pool.task_events import TaskEvents
from penstock.worker.consuming import flow
from penstock.worker.consuming.request import Request

_logger = logging.getLogger(__name__)


class Stoppable:
    """Stops a coroutine instead of a process. Stands before a request class in the bases."""

    _apply_result: Any
    _already_cancelled: bool
    _announce_cancelled: Any
    id: str

    @property
    def execution(self) -> Execution | None:
        """Where the pool executes it; None: on a thread, or not yet."""
        found = self._apply_result() if self._apply_result is not None else None
        return found if isinstance(found, Execution) else None

    def terminate(self, pool: Any, signal: Any = None) -> None:
        """Cancel the coroutine, which becomes REVOKED."""
        execution = self.execution
        if execution is None:
            super().terminate(pool, signal)  # type: ignore[misc]  # Celery's
        else:
            execution.stop("terminated")

    def cancel(self, pool: Any, signal: Any = None, **more: Any) -> None:
        """Cancel the coroutine: the broker delivers it again."""
        execution = self.execution
        if execution is None:
            super().cancel(pool, signal, **more)  # type: ignore[misc]  # Celery's
        else:
            execution.stop("connection-lost")

    def forget(self) -> None:
        """Leave the state of the worker; a redelivery with the same id may have come."""
        if state.requests.get(self.id) is self:
            del state.requests[self.id]
        state.active_requests.discard(self)
        state.reserved_requests.discard(self)


class OurRequest(Stoppable, Request):
    """The request of our tasks."""

    def stop_coroutine(self, reason: str) -> bool:
        """Cancel the coroutine of this task, so that it can clean up."""
        execution = self.execution
        if execution is None:
            return super().stop_coroutine(reason)
        execution.stop(reason)
        return True


def stoppable(path: Any) -> type:
    """Return the class of a task's requests, for this pool.

    Args:
        path: what the task has as `Request`: a class, or where it is.
    """
    base = symbol_by_name(path)
    if issubclass(base, Stoppable):
        return base  # type: ignore[no-any-return]  # Celery has no types
    if base is Request:
        return OurRequest
    return type(base.__name__, (Stoppable, base), {"__module__": base.__module__})


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """What the requests of a task have in common, as long as a connection lasts."""

    app: Any
    task: Any
    plan: Plan
    eventer: Any
    events: TaskEvents | None
    connection_errors: tuple[type[BaseException], ...]
    outbox: Outbox


_FOLLOWING = ("callbacks", "errbacks", "chain", "chord")


class LightRequest(OurRequest):
    """The request of a plain delivery: the attributes of Celery's, set without its detours.

    Args:
        message: kombu's, of one of our tasks: with neither ETA nor expiry.
        request: what Celery's `Context` is made of.
        intake: what all requests of a task have in common.
    """

    acknowledged: bool

    def __init__(self, message: Any, request: dict[str, Any], intake: Intake) -> None:
        task = intake.task
        self._message = message
        self._request_dict = request
        self._args, self._kwargs = request["args"], request["kwargs"]
        self._body: list[Any] | None = None  # decoded: see `_payload`
        self._app = intake.app
        self._utc = self._decoded = True
        self._content_type = self._content_encoding = None
        self.id = request["id"]
        self._type = request["task"]
        self.name = request.get("shadow") or self._type
        self._root_id = request.get("root_id")
        self._parent_id = request.get("parent_id")
        self._on_ack = self._on_reject = None
        self._hostname = request["hostname"]
        self._eventer = intake.eventer
        self._events = intake.events
        self._connection_errors = intake.connection_errors
        self._task = task
        ignored = request.get("ignore_result")
        self._ignore_result = task.ignore_result if ignored is None else ignored
        self._eta = self._expires = None
        self._delivery_info = request["delivery_info"]
        self._outbox = intake.outbox
        self._hard_s = (request.get("timelimit") or (None,))[0] or task.limits.hard_s

    @property
    def _payload(self) -> list[Any]:
        """Arguments, and what follows the task."""
        follow = {name: self._request_dict[name] for name in _FOLLOWING}
        return [self._args, self._kwargs, follow]

    def execute_using_pool(self, pool: Any, **options: Any) -> Any:
        """Execute it in Celery's way: after it was held, as its queue was paused."""
        self._body = self._payload
        return super().execute_using_pool(pool, **options)

    @property
    def body(self) -> list[Any]:
        """The decoded body of the message."""
        return self._payload

    @property
    def argsrepr(self) -> str:
        """The arguments as people see them."""
        return self._shown("argsrepr", self._args)

    @property
    def kwargsrepr(self) -> str:
        """The keyword arguments as people see them."""
        return self._shown("kwargsrepr", self._kwargs)

    def _shown(self, name: str, value: Any) -> str:
        found = self._request_dict.get(name)
        if not found:
            found = self._request_dict[name] = shown(value)
        return str(found)

    def on_accepted(self, pid: int, time_accepted: float) -> None:  # noqa: ARG002  # Celery's
        """Note that it begins; on the consumer's thread."""
        self.worker_pid = pid
        self.time_start = time.time()
        state.requests[self.id] = self
        state.active_requests.add(self)
        state.total_count[self.name] += 1
        state.all_total_count[0] += 1
        queue = self._delivery_info["queue"]
        flow.started[queue] += 1
        tally.waited(queue, self._request_dict)
        if not self._task.acks_late:
            self.acknowledge()
        self._tell("task-started")

    def on_success(self, answer: Any, **_: Any) -> None:
        """Answer the broker, and send the event."""
        failed, result, runtime_s = answer
        if failed:
            self.on_failure(result, return_ok=True)
            return
        self.forget()
        if self._task.acks_late:
            self.acknowledge()
        self._tell("task-succeeded", result=result, runtime=runtime_s)

    def _tell(self, kind: str, **fields: Any) -> None:
        """Send an event, if anybody wants one."""
        events = self._events
        if events is not None and events.enabled and self._task.send_events:
            events.send(kind, self.id, **fields)

    def acknowledge(self) -> None:
        """Acknowledge the message, once; from any thread."""
        if not self.acknowledged:
            self.acknowledged = True
            self._outbox.acknowledge(self._message)

    def reject(self, requeue: bool = False) -> None:  # noqa: FBT001, FBT002  # Celery's
        """Give the message back, or let it become a dead letter; from any thread."""
        if not self.acknowledged:
            self.acknowledged = True
            self._outbox.reject(self._message, _logger, self._connection_errors, requeue)
            self.send_event("task-rejected", requeue=requeue)
