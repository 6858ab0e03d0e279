"""How an execution ends: around Celery's tracer, so that nothing leaves it without an end.

Celery's tracer records what is an `Exception` and lets the rest pass, which on a thread loses the
delivery and in a prefork child ends the process; and it hands the exception itself on, to be
pickled, and raised again where it means something else.

    body ─► returns ───────────────► SUCCESS ── cannot be stored ─► FAILURE
         ├─ Retry, Ignore, Reject ─► as Celery means them
         └─ anything else ─────────► FAILURE, once; text alone leaves the process
                                        └─ cannot be recorded ─► into the dead letters
"""

import threading
from collections.abc import Callable
from typing import Any

from amqp.exceptions import AMQPError
from billiard.einfo import ExceptionInfo, ExceptionWithTraceback
from celery import signals, states
from celery.app import trace
from celery.app.task import Context
from celery.exceptions import (
    Ignore,
    Reject,
    Retry,
    SoftTimeLimitExceeded,
    WorkerShutdown,
    WorkerTerminate,
)
from celery.utils.log import get_logger
from celery.utils.saferepr import saferepr
from kombu.exceptions import OperationalError

from penstock.worker import tracing
from penstock.worker.ending.failures import (
    Failure,
    TaskFailed,
    einfo_of,
    safe_text,
    safely,
    traceback_of,
)
from penstock.worker.request_id import REQUEST_ID, request_id_of
from penstock.worker.stopping import stopping, terminated

TERMINATED = "terminated"
"""Why an execution was stopped on request."""
ATTEMPTS = 3
"""A soft time limit, or memory that is short, may interrupt what records a failure."""
MAX_ARGS_CHARS = 1024
"""Of the arguments that go with a line of the log."""

_logger = get_logger("celery.app.trace")  # where Celery's users look for these lines
_thread = threading.local()


class NoEndError(Reject):  # type: ignore[misc]  # Celery has no types
    """An execution has no end that could be recorded, or told: the broker decides.

    Args:
        reason: for the log.
        requeue: whether it may come again; otherwise it goes to the dead letters of its queue.
    """


class HeldError(NoEndError):
    """A delivery may not start now, as its queue is paused: the main process keeps it."""

    def __init__(self, reason: str = "paused", requeue: bool = True) -> None:  # noqa: FBT001, FBT002  # Celery's
        super().__init__(reason, requeue)


class RevokedError(Ignore):  # type: ignore[misc]  # Celery has no types
    """An execution ends because its task was revoked; the record says so already."""

    @property
    def running(self) -> bool:
        """Whether it was stopped while it ran."""
        return str(self) == TERMINATED


class Ending:
    """What is known of the end of the execution on this thread."""

    __slots__ = (
        "answer", "asked", "begun", "described", "marking", "stop_reason", "stored", "task_id",
        "told",
    )  # fmt: skip

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id
        self.asked = False
        """Whether Redis was asked whether it may start."""
        self.begun = False
        """Whether the body runs, or has run."""
        self.marking = False
        """Whether the tracer is about to store the end: before that, states are the task's own."""
        self.stored = False
        """Whether an end stands in Redis."""
        self.told = False
        """Whether chords, callbacks and what follows know of it, too."""
        self.stop_reason: str | None = None
        """Why its coroutine, which may not have begun, is to be stopped."""
        self.answer: ExceptionInfo | None = None
        """What the main process is answered when it is no success."""
        self.described: tuple[BaseException, Failure] | None = None
        """The exception that is being recorded: it is asked for its text once."""


def ending_of(task_id: str) -> Ending:
    """Return the ending of the execution on this thread, when it is that of the task."""
    ending: Ending | None = getattr(_thread, "ending", None)
    return ending if ending is not None and ending.task_id == task_id else Ending(task_id)


def stop_here(reason: str) -> None:
    """Remember that the execution on this thread is to be stopped; safe in a signal handler."""
    ending: Ending | None = getattr(_thread, "ending", None)
    if ending is not None:
        ending.stop_reason = ending.stop_reason or reason


def failure_of(error: BaseException) -> Failure:
    """Describe an exception, or find how it was described a moment ago on this thread."""
    ending: Ending | None = getattr(_thread, "ending", None)
    if ending is not None and ending.described is not None and ending.described[0] is error:
        return ending.described[1]
    return Failure.of(error)


def leaving(error: BaseException) -> bool:
    """Tell whether this process ends, so that what was raised is no end of the task.

    A prefork child that was told to terminate, or the process of a solo pool: the broker delivers
    the message again.
    """
    return terminated() or (
        issubclass(type(error), WorkerShutdown | WorkerTerminate)
        and stopping()
        and threading.current_thread() is threading.main_thread()
    )


def retryable(task: Any, error: BaseException) -> bool:
    """Tell whether an error is a server's that is away: another try may help."""
    return issubclass(type(error), OperationalError | AMQPError) or safely(
        lambda: bool(task.backend.exception_safe_to_retry(error)), fallback=False
    )


def tracer_of(task: Any, build: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """Build the tracer of a task: Celery's, or that of another `build_tracer`, in a guard."""
    build = build or trace.build_tracer
    return guarded(task, build(task.name, task, app=task.app, Info=TraceInfo))


def guarded(task: Any, traced: Callable[..., Any]) -> Callable[..., Any]:
    """Put a guard around what executes a task: nothing leaves it without an end.

    Args:
        task: what is executed.
        traced: as Celery's tracer is called; it may return None: nothing was executed.
    """

    def trace_task(uuid: str, args: Any, kwargs: Any, request: Any = None) -> Any:
        before = getattr(_thread, "ending", None)
        ending = _thread.ending = Ending(uuid)
        marked = REQUEST_ID.set(request_id_of((request or {}).get("headers")))
        executing = tracing.executing(task.name, request or {})
        try:
            if executing is None:
                answer = traced(uuid, args, kwargs, request)
            else:
                answer = executing.around(traced, uuid, args, kwargs, request)
        except BaseException as error:  # nothing may leave without an end
            if leaving(error):
                raise
            context = Context(request or {}, args=args, kwargs=kwargs, called_directly=False)
            return _end(task, ending, context, error)
        finally:
            REQUEST_ID.reset(marked)
            _thread.ending = before
            ending.described = None
        if answer is None or (answer.info is None and type(answer.retval) is not ExceptionInfo):
            return answer
        if ending.answer is None and not ending.told:  # it failed before the body
            none = NoEndError(str(answer.retval), requeue=False)
            return _end(task, ending, Context(request or {}), none)
        return _answer(ending, answer.info, answer.runtime)

    return trace_task


def _end(task: Any, ending: Ending, request: Context, error: BaseException) -> Any:
    """End an execution whose tracer raised, and return what the tracer would have."""
    _thread.ending, before = ending, getattr(_thread, "ending", None)
    task.request_stack.push(request)
    try:
        for _ in range(ATTEMPTS):
            if ending.answer is not None or ending.told or issubclass(type(error), Reject):
                break
            try:
                TraceInfo(states.FAILURE, error).handle_error_state(task, request)
            except BaseException as failed:  # as above
                if leaving(failed):
                    raise
                error = failed
        if issubclass(type(error), Reject) or not (ending.answer or ending.told):
            ending.answer = _rejected(error)
            _log(task, request, error, Failure.of(error))
        return _answer(ending, TraceInfo(states.FAILURE, error), 0.0)
    finally:
        task.request_stack.pop()
        _thread.ending = before


def _answer(ending: Ending, info: Any, runtime: float | None) -> Any:
    """What the main process gets of an end that is no success: text only."""
    if ending.answer is not None:
        return trace.trace_ok_t(ending.answer, info, runtime, None)
    # It succeeded, and something was raised afterwards.
    return trace.trace_ok_t(None, None, runtime or 0.0, "")


def _rejected(error: BaseException) -> ExceptionInfo:
    """What gives a delivery back: into the dead letters, unless it is a Reject that says not to."""
    requeue = issubclass(type(error), Reject) and safely(
        lambda: bool(error.requeue),  # type: ignore[attr-defined]
        fallback=False,
    )
    if type(error) is Reject:
        reason = safe_text(vars(error).get("reason"), "")  # Celery shows what gives it back
        return einfo_of(Reject(reason, requeue), "", internal=True)
    kind = HeldError if type(error) is HeldError else NoEndError
    return einfo_of(kind(Failure.of(error).shown, requeue), "", internal=True)


class TraceInfo(trace.TraceInfo):  # type: ignore[misc]  # Celery has no types
    """An end that is no success, in whatever way the body was left."""

    __slots__ = ()

    def handle_failure(
        self,
        task: Any,
        req: Any,
        store_errors: bool = True,  # noqa: FBT001, FBT002  # Celery's
        call_errbacks: bool = True,  # noqa: FBT001, FBT002
    ) -> ExceptionInfo:
        """Record a failure, once; then call the hooks of the task, whose errors are logged only.

        Raises:
            Reject: The end stands, but those who wait for it could not be told, or no end could be
                recorded: the delivery comes again when that can help, else it is a dead letter.
        """
        ending, error = ending_of(req.id), self.retval
        if leaving(error):
            raise error
        failure = safely(lambda: Failure.of(error), None) or Failure.bare(error)
        if ending.answer is not None or ending.told:
            _logger.error("Task %s[%s] raised after its end: %s", task.name, req.id, failure.shown)
            return ending.answer
        if ending.stored:
            raise _given_back(task, error)
        ending.described = (error, failure)
        try:
            _record(task, req, error, failure, store_errors=store_errors, errbacks=call_errbacks)
        except Reject:
            raise
        except Exception as failed:
            raise _given_back(task, failed) from failed
        ending.answer = einfo_of(TaskFailed(failure), failure.traceback)
        einfo = einfo_of(error, failure.traceback)
        einfo.exception = ExceptionWithTraceback(error, failure.traceback)
        einfo.tb = traceback_of(error)
        _hook(task, req, lambda: task.on_failure(error, req.id, req.args, req.kwargs, einfo))
        sent = {"args": req.args, "kwargs": req.kwargs, "traceback": einfo.tb, "einfo": einfo}
        _hook(
            task,
            req,
            lambda: signals.task_failure.send(sender=task, task_id=req.id, exception=error, **sent),
        )
        _log(task, req, error, failure)
        return ending.answer

    def handle_retry(self, task: Any, req: Any, store_errors: bool = True, **_: Any) -> Any:  # noqa: FBT001, FBT002  # Celery's
        """Record that the task was published again; that it could not be recorded is logged."""
        reason = self.retval
        failure = Failure.of(reason)
        cause = safely(lambda: reason.exc, None)
        stands_for = (
            TaskFailed(Failure.of(cause)) if issubclass(type(cause), BaseException) else None
        )
        told = Retry(safe_text(reason, ""), exc=stands_for)
        ending = ending_of(req.id)
        ending.answer = einfo_of(told, failure.traceback)
        if store_errors:
            _hook(
                task,
                req,
                lambda: task.backend.mark_as_retry(
                    req.id, stands_for, failure.traceback, request=req
                ),
            )
        einfo = einfo_of(reason, failure.traceback)
        _hook(task, req, lambda: task.on_retry(cause, req.id, req.args, req.kwargs, einfo))
        signal = signals.task_retry
        _hook(task, req, lambda: signal.send(sender=task, request=req, reason=reason, einfo=einfo))
        context = {"id": req.id, "name": _name(task, req), "exc": failure.record["text"]}
        trace.info(trace.LOG_RETRY, context)
        return ending.answer

    def handle_ignore(self, task: Any, req: Any, **_: Any) -> None:
        """Leave the state as it is; the task said so."""
        kind = RevokedError if type(self.retval) is RevokedError else Ignore
        ending_of(req.id).answer = einfo_of(kind(safe_text(self.retval, "")), "", internal=True)
        _log(task, req, self.retval, Failure.of(self.retval))

    def handle_reject(self, task: Any, req: Any, **_: Any) -> None:
        """Give the delivery back, or let it become a dead letter; the task said so."""
        ending_of(req.id).answer = _rejected(self.retval)
        if type(self.retval) is HeldError:
            return
        _log(task, req, self.retval, Failure.of(self.retval))


def _record(
    task: Any,
    req: Any,
    error: BaseException,
    failure: Failure,
    *,
    store_errors: bool,
    errbacks: bool,
) -> None:
    """Store a failure and tell those who wait for it; waits while Redis is away.

    Raises:
        Exception: It could not be stored even as little as it can be.
    """
    backend, ending = task.backend, ending_of(req.id)
    options = {"request": req, "store_result": store_errors, "call_errbacks": errbacks}
    try:
        backend.mark_as_failure(req.id, error, failure.traceback, **options)
    except Reject:
        raise
    except Exception as failed:
        if ending.stored:
            raise
        shown = Failure.of(failed).shown
        _logger.error("Task %s[%s] recorded in short: %s", task.name, req.id, shown)  # noqa: TRY400  # it prints what raises
        least = TaskFailed(Failure.bare(error))
        backend.mark_as_failure(req.id, least, "", **options)
    ending.told = True


def _given_back(task: Any, error: BaseException) -> NoEndError:
    """What hands a delivery back whose end could not be recorded, or not be told."""
    again = retryable(task, error) or issubclass(type(error), SoftTimeLimitExceeded)
    return NoEndError(f"the end could not be told: {Failure.of(error).shown}", requeue=again)


def _hook(task: Any, req: Any, call: Callable[[], Any]) -> None:
    """Call what others want to happen at an end; the end does not depend on it."""
    try:
        call()
    except Reject:
        raise  # a way to make a dead letter of a failure
    except BaseException as error:
        if leaving(error):
            raise
        shown = Failure.of(error).shown
        _logger.error("Task %s[%s] a handler of its end raised: %s", task.name, req.id, shown)  # noqa: TRY400  # as above


def _name(task: Any, req: Any) -> str:
    return str(trace.get_task_name(req, task.name))


def _log(task: Any, req: Any, error: BaseException, failure: Failure) -> None:
    """Log an end as Celery does, its traceback included."""
    einfo = einfo_of(error, failure.traceback)
    policy = safely(lambda: trace.get_log_policy(task, einfo, error), trace.log_policy_unexpected)
    context = {
        "hostname": req.hostname,
        "id": req.id,
        "name": _name(task, req),
        "exc": failure.shown,
        "traceback": failure.traceback,
        "args": req.argsrepr if hasattr(req, "argsrepr") else _brief(req.args),
        "kwargs": req.kwargsrepr if hasattr(req, "kwargsrepr") else _brief(req.kwargs),
        "description": policy.description,
        "internal": False,
    }
    form = policy.format.strip() + ("\n%(traceback)s" if policy.traceback else "")
    safely(lambda: _logger.log(policy.severity, form, context, extra={"data": context}), None)


def _brief(arguments: Any) -> str:
    return safely(lambda: saferepr(arguments, MAX_ARGS_CHARS), "")
