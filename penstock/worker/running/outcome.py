"""How a coroutine ended, for the tracer that tells it on another thread.

A tracer of Celery runs a task and does what its end asks for: states, callbacks, retries, hooks,
signals. For a coroutine that has run on the event loop it is called afterwards, and what it runs
gives it the outcome.
"""

import threading
from asyncio import CancelledError
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from celery.exceptions import Ignore, Reject, Retry

from penstock.worker.ending.failures import members_of
from penstock.worker.errors import PermanentError, RetryableError
from penstock.worker.running.context import in_coroutine

_WAYS = (Retry, Ignore, Reject, RetryableError, PermanentError)
"""What a task raises to say how it ended."""


class DeferredRetry(Retry):  # type: ignore[misc]  # Celery has no types
    """`self.retry` in a coroutine: what it publishes would hold up the event loop.

    Args:
        publish: calls Celery's method; on a thread that may wait.
    """

    def __init__(self, publish: Callable[[], Any]) -> None:
        super().__init__("published when the coroutine has ended")
        self.publish = publish


# It is seen where something else in its group is the end of the task.
DeferredRetry.__name__ = DeferredRetry.__qualname__ = Retry.__name__
DeferredRetry.__module__ = Retry.__module__


def defers_retry(task: Any, options: Mapping[str, Any]) -> bool:
    """Return whether `task.retry(**options)` is to publish when its coroutine has ended.

    One that raises something else than Retry, or returns, does so where it is called.
    """
    return in_coroutine() and bool(options.get("throw", True)) and publishes(task, options)


def publishes(task: Any, options: Mapping[str, Any]) -> bool:
    """Return whether `task.retry(**options)` publishes the task, and does not raise an error."""
    request = task.request
    if request.called_directly or request.is_eager:
        return False
    limit = options.get("max_retries")
    limit = task.max_retries if limit is None else limit
    return limit is None or request.retries < limit


def meant(error: BaseException) -> BaseException:
    """Return what a task says that raises a group: the first of its errors that says how it ended.

    A TaskGroup puts `self.retry` of one of its tasks into a group. Where an error in the group says
    no such thing, that is the end of the task, and the group is returned.
    """
    if not issubclass(type(error), BaseExceptionGroup):  # isinstance() asks the error
        return error
    found, left = error, [error]
    while left:
        one = left.pop()
        kind = type(one)
        if issubclass(kind, BaseExceptionGroup):
            left.extend(reversed(members_of(one)))
        elif issubclass(kind, _WAYS):
            found = one if found is error else found
        elif not issubclass(kind, CancelledError):
            return error
    return found


def unpacked(call: Callable[[], Any]) -> Any:
    """Call what runs a task, and raise what it means where it raises a group."""
    try:
        return call()
    except BaseExceptionGroup as group:
        error = meant(group)
    raise error


class Outcome:
    """What a coroutine returned or raised."""

    __slots__ = ("_error", "_result", "task_id")

    def __init__(self, task_id: str, result: Any, error: BaseException | None) -> None:
        self.task_id = task_id
        self._result = result
        self._error = error

    def take(self) -> Any:
        """Return the result, or raise the error; a retry is published now."""
        error, self._error = self._error, None  # it holds the frame that raises it
        error = None if error is None else meant(error)
        if type(error) is DeferredRetry:  # isinstance() asks the error, whatever it is
            return error.publish()
        if error is not None:
            try:
                raise error
            finally:
                error = None  # it holds this frame, which would hold it
        return self._result


_here = threading.local()


@contextmanager
def providing(outcome: Outcome) -> Iterator[None]:
    """Have what the tracer runs on this thread give it an outcome, once."""
    _here.outcome = outcome
    try:
        yield
    finally:
        _here.outcome = None


def outcome_of(task_id: str | None) -> Outcome | None:
    """Return the outcome of the execution that is told on this thread; None: it is to be run."""
    outcome: Outcome | None = getattr(_here, "outcome", None)
    if outcome is None or outcome.task_id != task_id:
        return None
    _here.outcome = None
    return outcome
