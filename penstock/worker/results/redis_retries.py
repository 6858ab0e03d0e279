"""Calls of Redis that are made again until it answers."""

import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from celery.exceptions import Reject

from penstock.backoff import backoff_s
from penstock.worker.results.transient_errors import is_transient
from penstock.worker.stopping import stopping

_logger = logging.getLogger(__name__)


class Outage:
    """What the log says of Redis: one line when calls begin to wait, one when they go on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._since: float | None = None
        self._calls = 0

    def waits(self, error: Exception) -> None:
        """Note a call that begins to wait.

        Args:
            error: why.
        """
        with self._lock:
            self._calls += 1
            if self._since is None:
                self._since = time.monotonic()
                _logger.warning("redis away: tasks wait for it; error=%r", error)

    def over(self) -> None:
        """Note that a call that has waited was answered."""
        with self._lock:
            since, calls = self._since, self._calls
            self._since, self._calls = None, 0
        if since is not None:
            after_s = time.monotonic() - since
            _logger.info("redis is back: after_s=%.1f calls_that_waited=%d", after_s, calls)


OUTAGE = Outage()
"""Of this process."""


class _Patience(threading.local):
    """Until when the calls of this thread wait for Redis; monotonic seconds."""

    until = -math.inf


_PATIENCE = _Patience()


@contextlib.contextmanager
def _patient(until: float) -> Iterator[None]:
    before, _PATIENCE.until = _PATIENCE.until, until
    try:
        yield
    finally:
        _PATIENCE.until = before


def _until(timeout: float | None) -> float:
    return math.inf if timeout is None else time.monotonic() + timeout


class RedisRetries:
    """How a result backend of Celery waits for Redis; stands before Celery's in the bases."""

    app: Any
    max_retries: Any

    def wait_for_pending(self, result: Any, *args: Any, **options: Any) -> Any:
        """Wait for a result as Celery's method does, and for Redis: who calls `get` waits anyway.

        No longer than its `timeout`, seconds; who asks only for the state is told at once.
        """
        waiting: Any = super()
        with _patient(_until(options.get("timeout"))):
            return waiting.wait_for_pending(result, *args, **options)

    def iter_native(self, result: Any, *args: Any, **options: Any) -> Iterator[Any]:
        """Give the results of a group as they come, as Celery does, and wait like `get`."""
        waiting: Any = super()
        until = _until(options.get("timeout"))
        found = waiting.iter_native(result, *args, **options)
        while True:
            with _patient(until):
                one = next(found, None)
            if one is None:
                return
            yield one

    @property
    def always_retry(self) -> bool:
        """Whether a call waits for Redis; of workers it does, unless the application says no."""
        return bool(self.app.conf.result_backend_always_retry)

    @always_retry.setter
    def always_retry(self, _: Any) -> None:
        """Do nothing: Celery would keep what the setting is when the backend is made."""

    def exception_safe_to_retry(self, exc: Exception) -> bool:
        """Tell whether waiting for Redis can help; Celery's list has KeyError in it, too."""
        return is_transient(exc)

    def _ensure_retryable(
        self,
        func: Callable[..., Any],
        *args: Any,
        fallback_exc: Callable[..., Exception] | None = None,
        fallback_msg: str | None = None,
        max_retries: float | None = None,
        **kwargs: Any,
    ) -> Any:
        """Call Redis until it answers, as Celery's method does, and not for ever.

        A worker that is to stop while it waits hands the message back instead of hanging.
        """
        limit = self.max_retries if max_retries is None else max_retries
        attempt = 0
        while True:
            try:
                answer = func(*args, **kwargs)
            except Exception as error:
                waits = self.always_retry or time.monotonic() < _PATIENCE.until
                if not (waits and self.exception_safe_to_retry(error)):
                    raise
                if attempt >= limit:
                    if fallback_exc is not None:
                        raise fallback_exc(fallback_msg) from error
                    raise
                if stopping():
                    if threading.current_thread() is threading.main_thread():
                        raise
                    raise Reject("the worker stops while Redis is away", requeue=True) from error
                attempt += 1
                if attempt == 1:
                    OUTAGE.waits(error)
            else:
                if attempt:
                    OUTAGE.over()
                return answer
            pause_s = backoff_s(attempt - 1)
            if not self.always_retry:
                pause_s = min(pause_s, max(0.0, _PATIENCE.until - time.monotonic()))
            time.sleep(pause_s)
