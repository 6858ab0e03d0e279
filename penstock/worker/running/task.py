"""The base class of all tasks, and what happens around one execution.

delivery ─► before_start: may it start? ──no──► Ignore (acked, not run)
                 │               └─ its queue is paused ─► held, until it is resumed
                 │ yes: STARTED
                 ▼
               run ── returns ─────────────► SUCCESS
                 ├── RetryableError ───────► published again, delayed; RETRY
                 │      └── tries used up ─► like PermanentError
                 ├── PermanentError ───────► published to `dead`, then FAILURE
                 ├── stopped on request ───► REVOKED
                 └── anything else ────────► FAILURE (penstock/worker/ending/ending.py)
"""

import inspect
import logging
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial, wraps
from typing import Any

from celery import Celery, Task
from celery._state import get_current_task
from celery.exceptions import Ignore, Reject

from penstock.wire.headers import BROKER_PREFIXES
from penstock.worker import tracing
from penstock.worker.celery_versions import ignores_result
from penstock.worker.ending.dead_letters import bury
from penstock.worker.ending.ending import (
    HeldError,
    RevokedError,
    ending_of,
    leaving,
    retryable,
    tracer_of,
)
from penstock.worker.errors import PermanentError, RetryableError
from penstock.worker.request_id import REQUEST_ID
from penstock.worker.results.script_calls import ScriptCall
from penstock.worker.running import local_stacks
from penstock.worker.running.context import TaskContext, in_coroutine
from penstock.worker.running.eager import beside, loop_waits, run_alone
from penstock.worker.running.outcome import (
    DeferredRetry,
    defers_retry,
    outcome_of,
    publishes,
    unpacked,
)
from penstock.worker.running.reporting import Reporter
from penstock.worker.running.retrying import MAX_RETRIES, retry_delay_s
from penstock.worker.running.runtime import Limits, StoppedError
from penstock.worker.running.task_function import TaskFunction
from penstock.worker.tenancy import TENANT, tenant_of

CELERYS_OWN = "celery."
"""What the names of Celery's own tasks begin with."""

_logger = logging.getLogger(__name__)


class PenstockTask(Task):  # type: ignore[misc]  # Celery has no types
    """Base of every task of an application: of functions, coroutine functions and classes."""

    abstract = True
    Request: str | type = "penstock.worker.consuming.request:Request"
    authored: TaskFunction | None = None
    """What runs; None for Celery's own tasks, which run as Celery runs them."""

    show_arguments = True
    """Whether Flower, events and `celery inspect` show the arguments, bounded; False: secrets."""

    keep_arguments = True
    """Whether history keeps what a failed task was asked with; False: secrets."""

    limits = Limits()
    """Of coroutines, when the message has none."""

    @classmethod
    def on_bound(cls, app: Celery) -> None:
        """Put this class around what the author of the task wrote; Celery calls it twice.

        Raises:
            ValueError: the soft limit is above the hard one. Celery refuses such when it publishes;
                here a gateway publishes.
        """
        local_stacks.prepare([cls])
        if not (cls.name or "").startswith(CELERYS_OWN):
            # Our start script writes STARTED; Celery would write it before it may.
            cls.track_started = False
            cls.show_arguments = cls.show_arguments and app.layout.shows_arguments(cls.name)
            cls.keep_arguments = cls.keep_arguments and app.layout.keeps_arguments(cls.name)
            cls._wrap()
        hard_s = cls.limits.hard_s or cls.time_limit
        soft_s = cls.limits.soft_s or cls.soft_time_limit
        if hard_s and soft_s and soft_s > hard_s:
            fault = "soft_time_limit must be less than or equal to time_limit"
            raise ValueError(f"{cls.name}: {fault}")

    @classmethod
    def _wrap(cls) -> None:
        found = inspect.getattr_static(cls, "run")
        if getattr(found, "executes", False):
            return
        takes_self = not isinstance(found, staticmethod)
        authored = cls.authored = TaskFunction.of(cls.run, takes_self=takes_self)

        @wraps(cls.run)
        def run(self: PenstockTask, *args: Any, **kwargs: Any) -> Any:
            return self.execute(authored, args, kwargs)

        run.__wrapped__ = authored.as_method()
        vars(run).pop("__signature__", None)  # what `wraps` has copied has no `self`
        run.executes = True  # type: ignore[attr-defined]
        cls.run = run
        if authored.takes_context:
            cls.__header__ = staticmethod(authored.header())
        if authored.is_coroutine:
            # Taken from Celery, which knows only to kill the process.
            cls.limits = Limits(cls.time_limit, cls.soft_time_limit)
            cls.time_limit = cls.soft_time_limit = None

    _tracer: Callable[..., Any] | None = None

    @property
    def __trace__(self) -> Callable[..., Any] | None:
        """What executes this task; Celery's worker and its prefork children set it."""
        return self._tracer

    @__trace__.setter
    def __trace__(self, traced: Callable[..., Any] | None) -> None:
        self.__dict__.pop("before_start", None)
        if type(self).before_start is not PenstockTask.before_start:
            self.__dict__["before_start"] = partial(self._start_first, self.before_start)
        self._tracer = None if traced is None else tracer_of(self)

    def _start_first(self, hook: Callable[..., Any], *delivery: Any) -> None:
        """Ask whether a delivery may start before a task's own hook, which need not ask."""
        PenstockTask.before_start(self, *delivery)
        hook(*delivery)

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:  # noqa: ARG002  # Celery's
        """Ask Redis whether this delivery may start, and mark it started.

        Raises:
            Ignore: it was revoked, has ended before, or is a copy of a message that has started.
            HeldError: its queue is paused.
        """
        request, ending = self.request, ending_of(task_id)
        if request.is_eager or ending.asked:
            return
        ending.asked = True
        answer = self.backend.ask(self.start_call(request))
        if answer == "start":
            return
        if answer == "paused":
            raise HeldError
        tracked = not ignores_result(self, request)
        if answer == "revoked":
            self.backend.mark_as_revoked(task_id, "revoked", request=request, store_result=tracked)
        elif answer == "ended":
            self._tell_end_again()
        _logger.info("not started: task=%s task_id=%s reason=%s", self.name, task_id, answer)
        raise RevokedError(answer) if answer == "revoked" else Ignore(answer)

    def start_call(self, request: Any) -> ScriptCall:
        """Return the question whether a delivery may start; the answer marks it started."""
        request.started_at = datetime.now(UTC).isoformat()
        request.timelimit = self.limits_of(request)
        tracked = not ignores_result(self, request)
        # An early acknowledgement is given before this: such a delivery could not be held safely.
        queue = (request.delivery_info or {}).get("queue") if self.acks_late else None
        return self.backend.start_call(  # type: ignore[no-any-return]  # Celery has no types
            request, tracked=tracked, retried=request.retries > 0, queue=queue
        )

    def limits_of(self, request: Any) -> list[float | None]:
        """Return the hard and soft limit of an execution: of its message, or else of the task.

        Celery's client sends what the task declares; a gateway cannot know it.
        """
        if any(request.timelimit or ()):
            return list(request.timelimit)
        hard_s = self.limits.hard_s or self.time_limit
        soft_s = self.limits.soft_s or self.soft_time_limit
        return [hard_s or None, soft_s or None]

    def _tell_end_again(self) -> None:
        try:
            self.backend.tell_end_again(self.request)
        except Reject:
            raise
        except Exception as error:
            # No failure of a task that has ended: it is told once more, or looked at.
            raise Reject(repr(error), requeue=retryable(self, error)) from error

    def execute(self, authored: TaskFunction, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run what the author wrote, and turn what it raises into what Celery understands."""
        request = self.request
        ending = ending_of(request.id)
        if ending.begun or self._is_awaited(request):  # a part of what runs: `super().run(…)`
            return self.begin(authored, request, args, kwargs)
        ending.begun = True
        try:
            told = outcome_of(request.id)
            call = told.take if told else partial(self._call, authored, request, args, kwargs)
            result = unpacked(call)
        except RetryableError as error:
            self._retry_later(error)
        except DeferredRetry as deferred:
            return deferred.publish()
        except PermanentError as error:
            self._bury(error, "permanent-error")
            raise
        except StoppedError as stopped:
            raise self._stopped(stopped) from None
        if request.callbacks or request.chain or request.chord:
            # Celery publishes what follows before it stores the result, which is then too late
            # to find that the result cannot be stored.
            self.backend.check_result(result)
        return result

    def _call(self, authored: TaskFunction, request: Any, args: Any, kwargs: Any) -> Any:
        begin = partial(self.begin, authored, request, args, kwargs)
        if authored.is_coroutine:
            return self._wait_for(request, begin)
        result = begin()
        # A decorator of the author's may have handed on what a coroutine function gave it.
        return self._wait_for(request, lambda: result) if inspect.iscoroutine(result) else result

    def _wait_for(self, request: Any, begin: Callable[[], Any]) -> Any:
        """Run a coroutine on the event loop, and wait for its end."""
        tenant, request_id, executing = tenant_of(request), REQUEST_ID.get(), tracing.carry()

        def start() -> Any:
            TENANT.set(tenant)  # of this coroutine's own context
            REQUEST_ID.set(request_id)
            if executing is not None:
                executing.enter()
            return begin()

        limits = self.coroutine_limits(request)
        if loop_waits():
            return run_alone(start, limits)
        return self.app.runtime.run(request.id or self.name, start, limits)

    def _is_awaited(self, request: Any) -> bool:
        """Return whether a coroutine calls, whose event loop cannot wait for another.

        Its request may be the one that is executed: of `self.run`, or Celery's `Task.__call__`.
        """
        if not in_coroutine():
            return False
        begun = request.__dict__.get("begun", False)
        known = request.called_directly or begun or loop_waits()
        return bool(known or self.app.runtime.here)

    def apply(self, *args: Any, **options: Any) -> Any:
        """Execute here, as Celery's method does; a coroutine beside a loop that would wait."""
        execute = partial(super().apply, *args, **options)
        awaits = self.authored is not None and self.authored.has_coroutine and in_coroutine()
        return beside(execute) if awaits and (loop_waits() or self.app.runtime.here) else execute()

    def begin(
        self, authored: TaskFunction, request: Any, args: Iterable[Any], kwargs: dict[str, Any]
    ) -> Any:
        """Call what the author wrote; of a coroutine function, for the caller to await."""
        request.begun = True
        if authored.takes_context:
            args = (self.context_of(request), *args)
        if authored.takes_self:
            args = (self, *args)
        return authored.run(*args, **kwargs)

    def coroutine_limits(self, request: Any) -> Limits:
        """Return the limits of an execution that has been asked whether it may start."""
        hard_s, soft_s = request.timelimit or (None, None)
        own = self.limits  # Celery has those of a task whose decorator hands its coroutine on
        hard_s, soft_s = hard_s or own.hard_s, soft_s or own.soft_s
        return Limits(hard_s or self.time_limit, soft_s or self.soft_time_limit)

    def context_of(self, request: Any) -> TaskContext[Any]:
        """Return what an execution knows and reports of itself."""
        runtime = self.app.runtime
        # The client of Redis belongs to the loop of the process.
        tracked = not (request.called_directly or ignores_result(self, request) or loop_waits())
        return TaskContext(
            task_id=request.id or "",
            task_name=self.name,
            retries=request.retries,
            resources=runtime.resources,
            writer=Reporter(self.backend, request, runtime.redis, tracked=tracked),
            headers=request.headers or {},
        )

    def _retry_later(self, error: RetryableError) -> None:
        request = self.request
        if request.called_directly:
            raise error
        limit = self.retry_limit
        if limit is not None and request.retries >= limit:
            self._bury(error, "retries-exhausted")
            raise error
        self.retry(exc=error, countdown=retry_delay_s(error, request.retries), max_retries=limit)

    @property
    def retry_limit(self) -> int | None:
        """How often a `RetryableError` is tried again; Celery's own 3 are for `self.retry`."""
        says = next(one for one in (self, *type(self).__mro__) if "max_retries" in vars(one))
        limit: int | None = MAX_RETRIES if says is Task else self.max_retries
        return limit

    def retry(self, args: Any = None, kwargs: Any = None, exc: Any = None, **options: Any) -> Any:
        """Publish this task again, as Celery's method does, whatever asks for it.

        Raises:
            Retry: it is published.
            Reject: RabbitMQ is away. The broker still has the message; it comes again. Celery would
                reject it for good.
            Exception: the new arguments cannot be published.
        """
        kind = type(exc)  # isinstance() asks the exception itself
        given_up = issubclass(kind, Reject) or self.request.__dict__.get("buried") is True
        if given_up or (issubclass(kind, BaseException) and leaving(exc)):
            raise exc  # `autoretry_for` catches what was not meant for it
        if defers_retry(self, options):
            raise DeferredRetry(partial(self.retry, args, kwargs, exc, **options))
        if publishes(self, options):
            self.backend.take_back(self.request)
        try:
            return super().retry(args, kwargs, exc, **options)
        except Reject as rejected:
            reason = rejected.reason
            if isinstance(reason, Exception) and not retryable(self, reason):
                raise reason from None
            raise Reject(reason, requeue=True) from exc

    def _bury(self, error: Exception, reason: str) -> None:
        if not (self.request.called_directly or self.request.is_eager):
            bury(self.app, self.request, error, reason)
            self.request.buried = True

    def _stopped(self, stopped: StoppedError) -> Exception:
        request = self.request
        if stopped.reason != "terminated":
            # The broker delivers it again, to this worker or another.
            return Reject(stopped.reason, requeue=True)  # type: ignore[no-any-return]
        tracked = not ignores_result(self, request)
        self.backend.mark_as_revoked(
            request.id, stopped.reason, request=request, store_result=tracked
        )
        return RevokedError(stopped.reason)

    def signature_from_request(
        self,
        request: Any = None,
        args: Any = None,
        kwargs: Any = None,
        queue: str | None = None,
        **extra_options: Any,
    ) -> Any:
        """Make the signature that a retry publishes: to the queue that the delivery came from.

        Celery's would go through the exchange again, which is another queue where the exchange is
        a topic or a fanout, and cannot be where the message came through a delay.
        """
        request = self.request if request is None else request
        own = (request.delivery_info or {}).get("queue")
        if not queue and own:
            extra_options = {"exchange": "", "routing_key": own, **extra_options}
        signature = super().signature_from_request(request, args, kwargs, queue, **extra_options)
        headers = signature.options.get("headers") or {}
        signature.options["headers"] = {
            name: value for name, value in headers.items() if not name.startswith(BROKER_PREFIXES)
        }
        for name in ("redelivered", "queue") if not queue else ("redelivered",):
            signature.options.pop(name, None)
        return signature


def with_ours(base: type[Task], ours: type[PenstockTask] = PenstockTask) -> type[PenstockTask]:
    """Put our base behind one that a task brings along, so that it ends as every other does."""
    if issubclass(base, PenstockTask):
        return base
    body = {"abstract": True, "__module__": base.__module__, "__doc__": base.__doc__}
    return type(base.__name__, (base, ours), body)


def executing() -> tuple[Any, Any]:
    """Return the task that the caller is part of, and its context; twice None outside of one."""
    task = get_current_task()
    return task, None if task is None else task.request
