"""Celery's request, for a pool whose executions can be stopped."""

from typing import Any

from celery.utils.imports import symbol_by_name

from penstock.worker.asyncio_pool.execution import Execution
from penstock.worker.consuming.request import Request


class Stoppable:
    """Stops a coroutine instead of a process. Stands before a request class in the bases."""

    _apply_result: Any
    _already_cancelled: bool
    _announce_cancelled: Any

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
