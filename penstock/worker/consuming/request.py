"""A delivery in the worker's main process: Celery's request, with its message checked first."""

import contextlib
import os
import re
import time
from collections.abc import Callable
from datetime import datetime
from functools import wraps
from typing import Any

from billiard.einfo import ExceptionWithTraceback
from billiard.exceptions import TimeLimitExceeded, WorkerLostError
from celery.exceptions import Ignore, InvalidTaskError, Reject, Retry
from celery.utils.imports import symbol_by_name
from celery.utils.log import get_logger
from celery.worker.request import Request as CeleryRequest
from celery.worker.state import task_ready
from redis.exceptions import RedisError

from penstock.wire.delay import MAX_BROKER_DELAY_S, is_delay_exchange
from penstock.wire.shown_arguments import HIDDEN, shown
from penstock.worker import tally
from penstock.worker.consuming import flow
from penstock.worker.consuming.pauses import hold
from penstock.worker.deaths import isolated
from penstock.worker.deaths.isolated import exit_words
from penstock.worker.deaths.suspects import MAX_DEATHS
from penstock.worker.ending.ending import HeldError, NoEndError, RevokedError
from penstock.worker.ending.failures import Failure, einfo_of
from penstock.worker.errors import WorkerLost
from penstock.worker.messages.envelope import body_parts, request_headers
from penstock.worker.running.runtime import STOP_SIGNALS
from penstock.worker.running.task import PenstockTask
from penstock.worker.stopping import stopping

COROUTINE_GRACE_S = 5.0
"""A coroutine is stopped by its own limit; when it hangs longer, prefork kills the process: after
half of `penstock_slot_grace_s` where that is less, before its slot counts as lost."""

_HOW = re.compile(r"(signal \d+(?: \(\w+\))?|exitcode -?\d+)")

_Callback = Callable[..., None]

EARLY_S = 1.0
"""A delay that ended in the broker is over: an ETA further ahead is the clock of the submitter."""

_logger = get_logger(__name__)


def _how(error: BaseException) -> str:
    """Find how a process ended in what billiard says of it."""
    if isinstance(error, SystemExit):
        return exit_words(error.code if isinstance(error.code, int) else 1)
    found = _HOW.search(str(error))
    return found[1] if found else str(error)


def _answered(callback: _Callback) -> _Callback:
    """Let a callback of the pool answer the broker, also when it raises.

    The pool only logs what its callbacks raise: the delivery would stay unacknowledged for ever.
    """

    @wraps(callback)
    def answered(self: "Request", *args: Any, **kwargs: Any) -> None:
        try:
            callback(self, *args, **kwargs)
        except Exception as error:  # noqa: BLE001  # whatever a message makes of Celery's code
            self.give_up(error)

    return answered


def _counted(on_success: _Callback) -> _Callback:
    """Count what succeeds."""

    @wraps(on_success)
    def counted(self: "Request", answer: Any, **kwargs: Any) -> None:
        failed, _, runtime_s = answer
        if not failed:
            self.count_end("SUCCESS", runtime_s)
        on_success(self, answer, **kwargs)

    return counted


class Request(CeleryRequest):  # type: ignore[misc]  # Celery has no types
    """Celery's request with seven differences.

    1. It takes out of a message what the protocol knows, checked
       (`penstock/worker/messages/envelope.py`): anything else would replace attributes of Celery's
       in the main process, a pool's thread or a child.
    2. It knows the queue that it came from, for retries and dead letters.
    3. Limits of coroutines are kept by the event loop.
    4. A coroutine can be stopped, on every pool, without killing its process.
    5. The body is decoded once: Celery hands the pool both what it made of it and its bytes, and a
       batch of documents costs as much to decode as to encode for MongoDB.
    6. Whatever fails while an end is handled here, the delivery does not stay unacknowledged.
    7. Its start and its end are counted (`penstock/worker/tally.py`).
    """

    time_limits: tuple[float | None, float | None]
    """What the pool ends it by: of a coroutine later than its own limit."""
    _hard_s: float | None = None
    """The hard limit of a coroutine."""
    _eta: datetime | None
    _end_counted = False

    def __init__(self, message: Any, **options: Any) -> None:
        own = message.headers or {}
        headers = request_headers(options.pop("headers", None) or own, own)
        body, decoded = options.pop("body", None), options.pop("decoded", False)
        parts = body_parts(body if decoded else message.payload)
        # Decoded, and so without a content type.
        super().__init__(message, body=parts, headers=headers, decoded=True, **options)
        # They have the headers in them once more.
        self._request_dict["properties"] = {
            name: value
            for name, value in (message.properties or {}).items()
            if name != "application_headers"
        }
        self._delivery_info["queue"] = getattr(message, "queue_name", None)
        if self._eta is not None:
            ahead_s = (self._eta - self._app.now()).total_seconds()
            if is_delay_exchange(self._delivery_info["exchange"]) and ahead_s > EARLY_S:
                self._eta = None
            elif ahead_s > MAX_BROKER_DELAY_S:
                raise InvalidTaskError(f"the eta {self._eta} is over a year away")
        self._show_arguments(parts)
        if self._is_coroutine():
            hard_s = self._hard_s = self.time_limits[0] or self._task.limits.hard_s
            grace_s = min(COROUTINE_GRACE_S, self._app.conf.penstock_slot_grace_s / 2)
            self.time_limits = (hard_s + grace_s if hard_s else None, None)

    @property
    def limit_s(self) -> float | None:
        """The hard limit, seconds; None: it has none."""
        return self._hard_s or self.time_limits[0] or self._task.time_limit

    def _show_arguments(self, parts: Any) -> None:
        """Set what Flower, events and `celery inspect` show; a gateway's message says nothing."""
        if not getattr(self._task, "show_arguments", True):
            self._argsrepr = self._kwargsrepr = HIDDEN
        elif not self._argsrepr:
            self._argsrepr, self._kwargsrepr = shown(parts[0]), shown(parts[1])
        else:
            return
        # For the logs of failures, which would write the arguments in full.
        self._request_dict["argsrepr"] = self._argsrepr
        self._request_dict["kwargsrepr"] = self._kwargsrepr

    def __init_subclass__(cls, **options: Any) -> None:
        """Guard what Celery overrides in the class that it makes for each task."""
        super().__init_subclass__(**options)
        if "on_success" in vars(cls):
            cls.on_success = _answered(_counted(cls.on_success))

    def count_end(self, state: str, runtime_s: float | None) -> None:
        """Count the end of the task, once.

        Args:
            state: in which it ended.
            runtime_s: how long the execution took, seconds; None: it did not begin.
        """
        if not self._end_counted:
            self._end_counted = True
            tally.ended(self._task.name, state, runtime_s)

    @property
    def took_s(self) -> float | None:
        """How long it has been executed, seconds; None: it did not begin."""
        return time.time() - self.time_start if self.time_start else None

    def on_accepted(self, pid: int, time_accepted: float) -> None:
        """Note that a slot has taken it; whatever fails here, it runs."""
        queue = self._delivery_info.get("queue")
        flow.started[queue] += 1
        due = None if self._eta is None else self._eta.timestamp()
        tally.waited(queue, self._request_dict, due)
        try:
            super().on_accepted(pid, time_accepted)
        except Exception:
            _logger.exception("start not noted: %s", self)

    @_answered
    def on_timeout(self, soft: bool, timeout: float) -> None:  # noqa: FBT001  # Celery's
        """End a task that billiard has killed for its hard limit."""
        super().on_timeout(soft, timeout if soft else self.limit_s or timeout)
        if not soft:
            self.count_end("FAILURE", self.took_s)

    def _announce_revoked(self, *args: Any, **kwargs: Any) -> None:
        super()._announce_revoked(*args, **kwargs)
        self.count_end("REVOKED", self.took_s)

    @_answered
    def on_failure(
        self,
        exc_info: Any,
        send_failed_event: bool = True,  # noqa: FBT001, FBT002  # Celery's
        return_ok: bool = False,  # noqa: FBT001, FBT002
    ) -> None:
        """Answer the broker about a task that did not succeed."""
        error = exc_info.exception
        if isinstance(error, ExceptionWithTraceback):
            error = error.exc
        if isinstance(error, HeldError):
            hold(self)
            return
        if isinstance(error, NoEndError):
            task_ready(self)
            self.reject(requeue=error.requeue)
            return
        if type(error) is TimeLimitExceeded and self._hard_s:  # of the pool, which adds to it
            error = TimeLimitExceeded(self._hard_s)
            exc_info = einfo_of(error, Failure.of(error).traceback)
        if lost := self._lost(error):
            self._end_lost(lost)
            return
        super().on_failure(exc_info, send_failed_event, return_ok)
        self._count_failure(error)

    def _count_failure(self, error: BaseException) -> None:
        """Count an end that is no success, and what is no end."""
        match error:
            case Retry():
                tally.retried(self._task.name, self.took_s)
            case RevokedError():
                self.count_end("REVOKED", self.took_s if error.running else None)
            case Ignore() | Reject():
                pass
            case WorkerLostError() if self._task.acks_late and self._task.reject_on_worker_lost:
                pass  # the broker delivers it again
            case _:
                self.count_end("FAILURE", self.took_s)

    def _lost(self, error: BaseException) -> WorkerLost | None:
        """Charge a task whose pool process died, and say whether that was the last time."""
        if (
            not isinstance(error, WorkerLostError | SystemExit)
            or self.worker_pid in {None, os.getpid()}
            or self._already_cancelled
            or self._already_revoked
            or stopping()
        ):
            return None
        try:
            deaths = self._app.backend.charge(self.id)
        except RedisError as away:
            _logger.warning("death of a process not counted: %s error=%r", self, away)
            return None
        _logger.error("its process died (%s): task_id=%s deaths=%d", error, self.id, deaths)
        return WorkerLost.after(deaths, _how(error)) if deaths >= MAX_DEATHS else None

    def _end_lost(self, lost: WorkerLost) -> None:
        """Record the end of a task under which process after process has died."""
        task_ready(self)
        self._task.backend.mark_as_failure(
            self.id, lost, request=self._context, store_result=self.store_errors
        )
        self.acknowledge()
        self.count_end("FAILURE", self.took_s)
        self.send_event("task-failed", exception=repr(lost), traceback=None)

    def give_up(self, error: Exception) -> None:
        """Reject a delivery whose end could not be handled: into dead letters, or to come again."""
        _logger.error("end not handled: %s", self, exc_info=error)
        task_ready(self)
        self.reject(requeue=self._app.backend.exception_safe_to_retry(error))

    def _is_coroutine(self) -> bool:
        authored = self._task.authored if isinstance(self._task, PenstockTask) else None
        return authored is not None and authored.is_coroutine

    def stop_coroutine(self, reason: str) -> bool:
        """Cancel the coroutine of this task, so that it can clean up.

        Args:
            reason: one of `penstock.worker.running.runtime.STOP_SIGNALS`.

        Returns:
            Whether it was running. It ends soon, not at once.
        """
        if not self._is_coroutine() or self.worker_pid is None:
            return False
        if self.worker_pid == os.getpid():
            stopped: bool = self._app.runtime.stop(self.id, reason)
            return stopped or isolated.stop(self.id, reason)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.worker_pid, STOP_SIGNALS[reason])
        return True

    def terminate(self, pool: Any, signal: Any = None) -> None:
        """Stop an execution on request of `celery control revoke --terminate`."""
        if self.stop_coroutine("terminated"):
            return
        if pool.signal_safe:
            super().terminate(pool, signal)
        else:
            _logger.warning("a function on a thread cannot be stopped: %s", self)

    def cancel(self, pool: Any, signal: Any = None, **more: Any) -> None:
        """Stop an execution whose delivery is no longer ours, since the connection was lost."""
        if self.stop_coroutine("connection-lost"):
            return
        if pool.signal_safe:
            super().cancel(pool, signal, **more)
        else:
            _logger.warning("a function on a thread runs on: %s", self)


def request_class(path: Any) -> type:
    """Return the class of a task's requests: ours, behind one that the task brings along.

    Args:
        path: what the task has as `Request`: a class, or where it is.
    """
    theirs = symbol_by_name(path)
    if issubclass(theirs, Request) or not issubclass(theirs, CeleryRequest):
        return theirs  # type: ignore[no-any-return]  # Celery has no types
    if theirs is CeleryRequest:
        return Request
    own = {name: getattr(theirs, name) for name in ("on_failure", "on_timeout")}
    guards = {
        name: _answered(method)
        for name, method in own.items()
        if method is not getattr(CeleryRequest, name)
    }
    return type(theirs.__name__, (theirs, Request), {"__module__": theirs.__module__, **guards})
