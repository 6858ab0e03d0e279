"""Where coroutines run, and what a task is handed to talk about itself.

There is one event loop per worker process, in a thread of its own, made on first use: after a
fork.

A pool's thread or process waits for its coroutine like for any function. Whatever ends the wait,
the coroutine is cancelled and awaited before it returns: it never runs on into the next task.
"""

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from billiard.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded

from penstock.wire.document_rules import COLLECTION_PATTERN
from tasks.errors import CoroutineCancelledError
from tasks.redis_client import async_client
from tasks.store import Store

STOP_SIGNALS: Mapping[str, signal.Signals] = MappingProxyType(
    {"terminated": signal.SIGUSR2, "connection-lost": signal.SIGURG}
)
"""How the parent of a prefork child tells it to stop its coroutine, and why; billiard, Celery and
Python use neither there."""

CANCEL_AGAIN_S = 1.0
"""A coroutine that swallowed its cancellation is cancelled again, this often, until it ends."""


class StateWriter(Protocol):
    """What a context writes with: the states of one task."""

    async def progress(self, current: float, total: float | None, message: str | None) -> None:
        """Store a PROGRESS state."""

    def progress_sync(self, current: float, total: float | None, message: str | None) -> None:
        """Do so from a thread."""

    async def log(self, line: str, stream: str) -> None:
        """Append a line of output."""

    def log_sync(self, line: str, stream: str) -> None:
        """Do so from a thread."""


@dataclass(kw_only=True)
class TaskContext:
    """One execution, as its task sees it; Celery's `self.request` is empty on the loop's thread.

    What it tells those who watch is best effort: while Redis is away it is dropped and the task
    goes on, since a task must not fail or wait for its spectators.
    """

    task_id: str
    task_name: str
    retries: int
    """0 on the first attempt."""

    store: Store
    """MongoDB; for coroutine tasks only: it belongs to the event loop."""

    scripts_dir: Path
    """The only folder to start programs from."""

    writer: StateWriter = field(repr=False)

    headers: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Custom headers of the message."""

    collection_pattern: str = COLLECTION_PATTERN
    """Names of collections that documents may go to."""

    async def progress(
        self, current: float, total: float | None = None, message: str | None = None
    ) -> None:
        """Tell how far the task is."""
        await self.writer.progress(current, total, message)

    def progress_sync(
        self, current: float, total: float | None = None, message: str | None = None
    ) -> None:
        """Tell how far the task is, from a task that is no coroutine."""
        self.writer.progress_sync(current, total, message)

    async def log(self, line: str, stream: str = "stdout") -> None:
        """Show a line of output to those who watch."""
        await self.writer.log(line, stream)

    def log_sync(self, line: str, stream: str = "stdout") -> None:
        """Show a line of output, from a task that is no coroutine."""
        self.writer.log_sync(line, stream)


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds that a coroutine may take; None: no limit."""

    hard_s: float | None = None
    """Then it is TimeLimitExceeded."""

    soft_s: float | None = None
    """Then it is cancelled, may clean up until the hard limit, and is SoftTimeLimitExceeded."""


class StoppedError(BaseException):
    """A running coroutine was cancelled on request.

    Not an Exception, so that no task takes it for an error of its own.

    Args:
        reason: `terminated`, or `connection-lost` when the broker will deliver the task again.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(eq=False, slots=True)
class _Running:
    """One coroutine and the one who waits for it."""

    task: "asyncio.Task[Any] | None" = None
    stop_reason: str | None = None
    ended: threading.Event = field(default_factory=threading.Event)


class Runtime:
    """The event loop of this process and the store that lives on it."""

    def __init__(self, mongo_url: str, redis_url: str) -> None:
        self.store = Store(mongo_url)
        self.redis = async_client(redis_url)
        """For coroutines on the loop; it connects on first use, there."""
        self._running: dict[str, _Running] = {}
        # Signal handlers call `stop` on the thread that may hold it.
        self._lock = threading.RLock()
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="event-loop", daemon=True).start()

    def __repr__(self) -> str:
        """Tell what runs."""
        return f"<Runtime {len(self._running)} coroutines, {self.store!r}>"

    def run(
        self, task_id: str, start: Callable[[], Coroutine[Any, Any, Any]], limits: Limits
    ) -> Any:
        """Run a coroutine on the loop and wait for its end.

        Args:
            task_id: by which `stop` finds it.
            start: makes the coroutine; called on the loop.
            limits: time limits.

        Raises:
            SoftTimeLimitExceeded: the soft limit passed.
            TimeLimitExceeded: the hard limit passed.
            StoppedError: somebody called `stop`.
            CoroutineCancelledError: it cancelled itself.
        """
        running = _Running()
        with self._lock:
            self._running[task_id] = running
        future = asyncio.run_coroutine_threadsafe(_execute(running, start, limits), self._loop)
        try:
            return future.result()
        finally:
            # Also when a signal (a soft limit of prefork, a shutdown) ends the wait.
            while not running.ended.is_set():
                running.stop_reason = running.stop_reason or "interrupted"
                self._loop.call_soon_threadsafe(_cancel, running)
                running.ended.wait(CANCEL_AGAIN_S)
            with self._lock:
                if self._running.get(task_id) is running:
                    del self._running[task_id]

    def stop(self, task_id: str, reason: str) -> bool:
        """Cancel the coroutine of a task.

        Returns:
            Whether it runs here. It ends soon, not at once; `run` then raises StoppedError.
        """
        with self._lock:
            running = self._running.get(task_id)
            if running is None or running.ended.is_set():
                return False
            running.stop_reason = running.stop_reason or reason
        self._loop.call_soon_threadsafe(_cancel, running)
        return True

    def stop_all(self, reason: str) -> None:
        """Cancel every coroutine of this process; in a prefork child that is one at most."""
        with self._lock:
            task_ids = tuple(self._running)
        for task_id in task_ids:
            self.stop(task_id, reason)


def _cancel(running: _Running) -> None:
    if running.task is not None:
        running.task.cancel()


async def _execute(
    running: _Running, start: Callable[[], Coroutine[Any, Any, Any]], limits: Limits
) -> Any:
    running.task = asyncio.current_task()
    try:
        if running.stop_reason is not None:
            raise asyncio.CancelledError  # stopped before it began
        return await _within(start, limits)
    except asyncio.CancelledError:
        if running.stop_reason is not None:
            raise StoppedError(running.stop_reason) from None
        raise CoroutineCancelledError("the coroutine of the task was cancelled") from None
    finally:
        running.ended.set()


async def _within(start: Callable[[], Coroutine[Any, Any, Any]], limits: Limits) -> Any:
    try:
        async with asyncio.timeout(limits.hard_s) as hard:
            try:
                async with asyncio.timeout(limits.soft_s) as soft:
                    return await start()
            except TimeoutError:
                if soft.expired():
                    raise SoftTimeLimitExceeded(limits.soft_s) from None
                raise
    except TimeoutError:
        if hard.expired():
            raise TimeLimitExceeded(limits.hard_s) from None
        raise
