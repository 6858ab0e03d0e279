"""What happens to an execution on the event loop, and on the helpers' threads when it ends oddly.

    begin ─► may it start? ──no──► Celery's own way, on a helper
                │ yes: STARTED
                ▼
            the coroutine ── returns, nothing follows ─► recorded ─► handed back
                │ anything else
                └─► told by Celery's tracer, on a helper ─────────► handed back

While Redis is away an execution waits for it here; it holds no thread.
"""

import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from billiard.einfo import ExceptionInfo
from celery import signals, states
from celery.app import trace
from celery.utils.saferepr import saferepr
from kombu.utils.encoding import bytes_to_str

from penstock.backoff import backoff_s
from penstock.wire.headers import CALLBACK_HEADER
from penstock.wire.shown_arguments import shown as shown_arguments
from penstock.worker import tracing
from penstock.worker.asyncio_pool.execution import Execution
from penstock.worker.asyncio_pool.redis_pipe import RedisPipe
from penstock.worker.asyncio_pool.task_events import LogLines
from penstock.worker.asyncio_pool.watches import watches_of
from penstock.worker.celery_versions import ignores_result
from penstock.worker.ending.failures import safely
from penstock.worker.errors import LoopLostError
from penstock.worker.request_id import REQUEST_ID
from penstock.worker.results.redis_retries import OUTAGE
from penstock.worker.results.script_calls import ScriptCall
from penstock.worker.running import local_stacks
from penstock.worker.running.outcome import Outcome, providing
from penstock.worker.running.runtime import Limits, Running, Runtime, StoppedError
from penstock.worker.stopping import stopping

HELPERS = 8
"""Threads that tell ends which are no plain success."""

ABANDONED = "ABANDONED"
"""How what looks on ends where an execution has no end here."""

_logger = logging.getLogger(__name__)
_FORGET_TRACEBACK = BaseException.__dict__["__traceback__"].__set__
"""Of an error, whatever its class makes of attributes."""
_SHORT = frozenset((int, float, bool, type(None)))
_log = trace.logger
"""Where Celery's users look for the line of a success."""

HandBack = Callable[[Execution, Any], None]
"""Takes an execution that has ended, and what its callback is to be called with; None: nothing."""


class Executor:
    """Executes deliveries on one event loop.

    Args:
        runtime: the loop, and what lives on it.
        redis_url: of the states of our tasks; None: there are none.
        hand_back: from any thread.
        elsewhere: executes a delivery in Celery's own way, on the thread that calls it.
        worker_limits: of coroutines for which neither message nor task has any.
    """

    def __init__(
        self,
        runtime: Runtime,
        redis_url: str | None,
        hand_back: HandBack,
        elsewhere: Callable[[Execution], None],
        worker_limits: Limits,
    ) -> None:
        self.runtime = runtime
        self._worker_limits = worker_limits
        self._redis_url = redis_url
        self._hand_back = hand_back
        self._elsewhere = elsewhere
        self._helpers = ThreadPoolExecutor(HELPERS, thread_name_prefix="ends")
        self._pipe: RedisPipe | None = None
        self._asking: set[Execution] = set()
        """What waits for an answer of Redis."""
        self._lines = LogLines()
        self._on_ended = self._ended

    def __repr__(self) -> str:
        """Tell what runs."""
        return f"<Executor {self.runtime!r} {self._pipe!r}>"

    def close(self, *, wait: bool) -> None:
        """End the helpers when they are done."""
        self._helpers.shutdown(wait=wait)

    def give_up(self) -> None:
        """End what waited for Redis on a loop that is lost: its answer will never come."""
        for execution in tuple(self._asking):
            self._asking.discard(execution)
            if execution.returned is not None:
                self._tell(execution, execution.returned[0], None)
            elif execution.plan.task.acks_late:
                execution.reject()
                self._give_back(execution)
            else:  # acknowledged: no other delivery will come; a task of ours is tried again
                self._tell(execution, None, LoopLostError())

    def begin(self, execution: Execution) -> None:
        """Begin an execution, on the loop's thread."""
        try:
            self._begin(execution)
        except BaseException as error:  # noqa: BLE001  # whatever it is, it is an end
            self._tell(execution, None, error)

    def _begin(self, execution: Execution) -> None:
        plan = execution.plan
        if not execution.watches:
            execution.watches = watches_of(plan.task, execution.context)
        if execution.stop_reason is not None or execution.orphaned:
            self._stopped_before(execution)
        elif plan.ours:
            self._call(execution, plan.task.start_call(execution.context), self._asked)
        elif plan.stores_started and not ignores_result(plan.task, execution.context):
            self._helpers.submit(self._mark_started, execution)
        else:
            self._run(execution)

    def _mark_started(self, execution: Execution) -> None:
        """Store STARTED as Celery does, on a helper."""
        task, context = execution.plan.task, execution.context
        try:
            meta = {"pid": None, "hostname": context.hostname}
            task.backend.store_result(execution.task_id, meta, states.STARTED, request=context)
            self.runtime.call(self._run, execution)
        except BaseException as error:  # noqa: BLE001  # as above
            self._tell_now(execution, None, error)

    def _asked(self, execution: Execution, answer: Any) -> None:
        if bytes_to_str(answer) == "start":
            self._run(execution)
        else:
            self._helpers.submit(self._elsewhere, execution)

    def _run(self, execution: Execution) -> None:
        if execution.stop_reason is not None:
            self._stopped_before(execution)
            return
        plan, context = execution.plan, execution.context
        # What Celery's request has of a task of ours is for processes.
        own = plan.task.coroutine_limits(context) if plan.ours else execution.limits
        worker = self._worker_limits
        limits = Limits(own.hard_s or worker.hard_s, own.soft_s or worker.soft_s)
        execution.stopper = self._stop
        execution.running = self.runtime.start(
            execution.task_id,
            partial(_body, execution),
            limits,
            self._on_ended,
            execution,
        )
        self._stop(execution)  # it may have been stopped meanwhile

    def _stop(self, execution: Execution) -> None:
        running = execution.running
        if running is not None and execution.stop_reason is not None:
            self.runtime.stop_one(running, execution.stop_reason)

    def _stopped_before(self, execution: Execution) -> None:
        """End an execution that was stopped before its coroutine began."""
        if execution.stop_reason == "terminated":
            self._tell(execution, None, StoppedError("terminated"))
        else:
            self._give_back(execution)

    def _give_back(self, execution: Execution) -> None:
        """Let go of a delivery without an answer: the broker delivers it again."""
        execution.forget()
        if execution.watches:
            execution.within(execution.unwatch, ABANDONED)
        self._hand_back(execution, None)

    def _ended(self, execution: Execution, running: Running) -> None:
        """Take the end of a coroutine; on the thread of its loop, also when that is lost."""
        execution.running, execution.scope = None, running.scope  # they know each other
        error, running.error = running.error, None
        if error is None and self._is_plain(execution):
            try:
                self._record(execution, running.result)
            except BaseException:  # noqa: BLE001  # the tracer finds the same, and what to do about it
                self._tell(execution, running.result, None)
        elif type(error) is StoppedError and error.reason != "terminated":
            self._give_back(execution)
        else:
            self._tell(execution, running.result, error)

    def _is_plain(self, execution: Execution) -> bool:
        """Return whether a success is only to be recorded."""
        context = execution.context
        return (
            execution.plan.ours
            and execution.plan.quiet
            and not (context.callbacks or context.chain or context.chord or context.errbacks)
            and not (signals.task_success.receivers or signals.task_postrun.receivers)
            and CALLBACK_HEADER not in (context.headers or ())
        )

    def _record(self, execution: Execution, result: Any) -> None:
        task, context = execution.plan.task, execution.context
        if ignores_result(task, context):
            self._succeeded(execution, result)
            return
        execution.returned = (result,)
        backend = task.backend
        call = backend.record_call(
            execution.task_id, backend.prepare_value(result), states.SUCCESS, None, context
        )
        self._call(execution, call, lambda one, _: self._succeeded(one, result))

    def _succeeded(self, execution: Execution, result: Any) -> None:
        if execution.watches:
            execution.within(execution.unwatch, states.SUCCESS)
        runtime_s = time.monotonic() - execution.began_at
        context = execution.context
        most = execution.plan.task.resultrepr_maxsize
        short = type(result) in _SHORT
        shown = repr(result) if short else safely(partial(saferepr, result, most), "")
        if _log.isEnabledFor(logging.INFO):
            fields = {
                "id": execution.task_id,
                "name": trace.get_task_name(context, execution.plan.task.name),
                "return_value": shown,
                "runtime": runtime_s,
                "args": context.get("argsrepr") or shown_arguments(execution.args),
                "kwargs": context.get("kwargsrepr") or shown_arguments(execution.kwargs),
            }
            if self._lines.add(_log, trace.LOG_SUCCESS, fields, execution.request_id):
                self.runtime.call_later(0, self._lines.write)
        self._hand_back(execution, (0, shown, runtime_s))

    def _call(
        self, execution: Execution, call: ScriptCall, then: Callable[[Execution, Any], None]
    ) -> None:
        """Call a script, again and again while Redis is away, and go on with its answer."""
        # Partials, since functions that know each other would keep all of it until the collector
        # of cycles comes.
        self._asking.add(execution)
        self._redis().call(call, partial(self._answered, execution, call, then))

    def _answered(
        self,
        execution: Execution,
        call: ScriptCall,
        then: Callable[[Execution, Any], None],
        answer: Any,
    ) -> None:
        try:
            if isinstance(answer, Exception) and self._waits_for(execution, answer):
                self._later(execution, answer, partial(self._again, execution, call, then))
                return
            self._asking.discard(execution)
            if isinstance(answer, Exception):
                self._tell(execution, None, answer)
            else:
                if execution.attempts:
                    OUTAGE.over()
                execution.attempts = 0
                then(execution, answer)
        except BaseException as error:  # noqa: BLE001  # it must not end the connection of all
            self._tell(execution, None, error)

    def _again(
        self, execution: Execution, call: ScriptCall, then: Callable[[Execution, Any], None]
    ) -> None:
        if execution.orphaned or stopping():
            self._give_back(execution)
        else:
            self._call(execution, call, then)

    def _waits_for(self, execution: Execution, error: Exception) -> bool:
        backend = execution.plan.task.backend
        return bool(backend.always_retry and backend.exception_safe_to_retry(error))

    def _later(self, execution: Execution, error: Exception, again: Callable[[], None]) -> None:
        wait_s = backoff_s(execution.attempts)
        execution.attempts += 1
        if execution.attempts == 1:
            OUTAGE.waits(error)
        self.runtime.call_later(wait_s, again)

    def _redis(self) -> RedisPipe:
        if self._pipe is None:
            self._pipe = RedisPipe(self._redis_url or "")
        return self._pipe

    def _tell(self, execution: Execution, result: Any, error: BaseException | None) -> None:
        """Let Celery's tracer tell an end, on a helper."""
        try:
            self._helpers.submit(self._tell_now, execution, result, error)
        except RuntimeError:  # they are shut down: the broker delivers it again
            self._hand_back(execution, None)

    def _tell_now(self, execution: Execution, result: Any, error: BaseException | None) -> None:
        plan = execution.plan
        outcome = Outcome(execution.task_id, result, error)
        answer: Any = None
        try:
            if type(error) is StoppedError and not plan.ours:  # isinstance() asks the error
                _announce_revoked(execution)
                return
            if type(error) is LoopLostError:
                _logger.error("the event loop was lost under it: %r", execution)
            with providing(outcome):
                # Where it began: what receivers of `task_prerun` have set there is there.
                told = execution.within(_told, execution, error)
            value, info, runtime_s, shown = told
            answer = (
                (1, value, runtime_s) if info else (0, shown, time.monotonic() - execution.began_at)
            )
        except BaseException:  # noqa: BLE001  # a delivery must not stay open for ever
            answer = None
            execution.break_off(ExceptionInfo())
        finally:
            if execution.watches:
                execution.within(execution.unwatch, ABANDONED)  # unless it has ended
            if error is not None:
                # Celery's tracer keeps the error, whose traceback keeps the tracer, and all of it.
                _FORGET_TRACEBACK(error, None)
            self._answer(execution, answer)

    def _answer(self, execution: Execution, answer: Any) -> None:
        """Call what Celery does at an end, here: it may wait for others."""
        try:
            execution.end(answer)
        except Exception:
            _logger.exception("end not handled: %r", execution)
        finally:
            self._hand_back(execution, None)


def _told(execution: Execution, error: BaseException | None) -> Any:
    """Have Celery's tracer tell the end of an execution, in the sight of what looks on."""
    for one in execution.watches:
        one.enter()  # unless it has begun
        if error is not None:
            one.raised(error)
    local_stacks.leave(execution.plan.task)  # the tracer begins it once more
    told = execution.plan.tell(
        execution.task_id, execution.args, execution.kwargs, vars(execution.context)
    )
    execution.unwatch(*tracing.outcome_of(told))
    return told


async def _body(execution: Execution) -> Any:
    """Be the coroutine of a task, in a context of its own."""
    plan, context = execution.plan, execution.context
    task = plan.task
    plan.enter(context)
    REQUEST_ID.set(execution.request_id)
    for one in execution.watches:
        one.enter()
    if signals.task_prerun.receivers:
        signals.task_prerun.send(
            sender=task,
            task_id=execution.task_id,
            task=task,
            args=execution.args,
            kwargs=execution.kwargs,
        )
    return await plan.begin(context, execution.args, execution.kwargs)


def _announce_revoked(execution: Execution) -> None:
    """Record a task of Celery's as revoked that was terminated."""
    request = execution.asked_by
    if request is not None:
        request._announce_revoked("terminated", True, "SIGTERM", False)  # noqa: FBT003, SLF001  # Celery's
