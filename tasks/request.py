"""A delivery in the worker's main process: Celery's request, with its message checked first."""

import contextlib
import os
from datetime import datetime
from typing import Any

from celery.exceptions import InvalidTaskError
from celery.utils.log import get_logger
from celery.worker.request import Request as CeleryRequest

from tasks.execution import PenstockTask
from tasks.runtime import STOP_SIGNALS
from topology.delay import is_delay_exchange

COROUTINE_GRACE_S = 5.0
"""A coroutine is stopped by its own limit; when it hangs longer, prefork kills the process."""

EARLY_S = 1.0
"""A delay that ended in the broker is over: an ETA further ahead is the clock of the submitter."""

_logger = get_logger(__name__)


class Request(CeleryRequest):  # type: ignore[misc]  # Celery has no types
    """Celery's request with five differences.

    1. It checks what Celery trusts: a message that fits the protocol only in part would otherwise
       fail in a pool's thread, outside of everything, and stay unacknowledged for ever.
    2. It knows the queue that it came from, for retries and dead letters.
    3. Limits of coroutines are kept by the event loop.
    4. A coroutine can be stopped, on every pool, without killing its process.
    5. The body is decoded once: Celery hands the pool both what it made of it and its bytes, and a
       batch of documents costs as much to decode as to encode for MongoDB.
    """

    time_limits: tuple[float | None, float | None]
    _eta: datetime | None

    def __init__(self, message: Any, **options: Any) -> None:
        _check_headers(message.headers if options.get("headers") is None else options["headers"])
        super().__init__(message, **options)
        _check_body(self._payload)
        # No content type: it is decoded.
        self._body, self._content_type, self._content_encoding = self._payload, None, None
        self._delivery_info["queue"] = getattr(message, "queue_name", None)
        if self._eta is not None and is_delay_exchange(self._delivery_info["exchange"]):
            ahead_s = (self._eta - self._app.now()).total_seconds()
            if ahead_s > EARLY_S:
                self._eta = None
        if self._is_coroutine():
            hard_s = self.time_limits[0] or self._task.limits.hard_s
            self.time_limits = (hard_s + COROUTINE_GRACE_S if hard_s else None, None)

    def _is_coroutine(self) -> bool:
        spec = self._task.spec if isinstance(self._task, PenstockTask) else None
        return spec is not None and spec.is_coroutine

    def stop_coroutine(self, reason: str) -> bool:
        """Cancel the coroutine of this task, so that it can clean up.

        Args:
            reason: one of `tasks.runtime.STOP_SIGNALS`.

        Returns:
            Whether it was running. It ends soon, not at once.
        """
        if not self._is_coroutine() or self.worker_pid is None:
            return False
        if self.worker_pid == os.getpid():
            stopped: bool = self._app.runtime.stop(self.id, reason)
            return stopped
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

    def cancel(self, pool: Any, signal: Any = None, emit_retry: bool = True) -> None:  # noqa: FBT001, FBT002  # Celery's
        """Stop an execution whose delivery is no longer ours, since the connection was lost."""
        if self.stop_coroutine("connection-lost"):
            return
        if pool.signal_safe:
            super().cancel(pool, signal, emit_retry)
        else:
            _logger.warning("a function on a thread runs on: %s", self)


def _check_headers(headers: dict[str, Any]) -> None:
    timelimit = headers.get("timelimit")
    retries = headers.get("retries")
    if not (isinstance(headers.get("id"), str) and headers["id"]):
        raise InvalidTaskError("the header id must be text")
    if not (retries is None or (isinstance(retries, int) and retries >= 0)):
        raise InvalidTaskError(f"the header retries must be a number, not {retries!r}")
    if timelimit is not None and not (
        isinstance(timelimit, list | tuple)
        and len(timelimit) == 2
        and all(one is None or isinstance(one, int | float) for one in timelimit)
    ):
        raise InvalidTaskError(f"the header timelimit must be [hard, soft], not {timelimit!r}")


def _check_body(body: Any) -> None:
    args, kwargs, embed = body
    if not (
        isinstance(args, list | tuple)
        and isinstance(kwargs, dict)
        and (embed is None or isinstance(embed, dict))
    ):
        raise InvalidTaskError("the body must be [[…], {…}, {…}]")
