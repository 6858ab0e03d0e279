"""Where coroutines run.

There is one event loop per worker process, in a thread of its own, made on first use: after a
fork.

A pool's thread or process waits for its coroutine like for any function. Whatever ends the wait,
the coroutine is cancelled and awaited before it returns: it never runs on into the next task.
"""

import asyncio
import contextlib
import logging
import signal
import threading
from collections.abc import Callable, Coroutine, Mapping
from contextvars import Context, copy_context
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

from billiard.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded

from penstock.worker.ending.ending import ending_of
from penstock.worker.errors import LoopLostError
from penstock.worker.redis_client import async_client
from penstock.worker.running.django_connections import DjangoConnections

STOP_SIGNALS: Mapping[str, signal.Signals] = MappingProxyType(
    {"terminated": signal.SIGUSR2, "connection-lost": signal.SIGURG}
)
"""How the parent of a prefork child tells it to stop its coroutine, and why; billiard, Celery and
Python use neither there."""

CANCEL_AGAIN_S = 1.0
"""A coroutine that swallowed its cancellation is cancelled again, this often, until it ends."""
CLEAN_UP_S = 5.0
"""How long one may clean up that was stopped on request, before it is cancelled again."""


_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds that a coroutine may take; None: no limit."""

    hard_s: float | None = None
    """Then it is TimeLimitExceeded."""

    soft_s: float | None = None
    """Then it is cancelled, may clean up until the hard limit, and is SoftTimeLimitExceeded."""

    @property
    def any(self) -> bool:
        """Whether there is one."""
        return bool(self.hard_s or self.soft_s)


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
class Running:
    """One coroutine, and what is called when it has ended, on the loop's thread."""

    on_end: "Callable[[Running], None]"
    then: "Callable[[Any, Running], None] | None" = None
    """Called by `on_end`, with `about`."""
    about: Any = None
    task: "asyncio.Task[Any] | None" = None
    scope: Context | None = None
    """What the coroutine runs in; None: it has not begun."""
    stop_reason: str | None = None
    ended: bool = False
    result: Any = None
    error: BaseException | None = None
    again: "asyncio.TimerHandle | None" = None
    """Cancels it once more."""

    def end(self, result: Any = None, error: BaseException | None = None) -> None:
        """Hand the end on; the first one counts."""
        if not self.ended:
            self.result, self.error = result, error
            self.ended = True
            if self.again is not None:
                self.again.cancel()
            self.on_end(self)

    def finish(self, task: "asyncio.Task[Any]") -> None:
        """Take the end of the asyncio task, whichever it is."""
        if not task.cancelled():
            error = task.exception()
            if error is None:
                self.end(result=task.result())
            else:
                self.end(error=error)
        elif self.stop_reason is not None:
            self.end(error=StoppedError(self.stop_reason))
        else:
            try:
                task.result()
            except asyncio.CancelledError as cancelled:
                self.end(error=cancelled)


class Runtime:
    """The event loop of this process, and what lives on it.

    Whoever calls `run` waits for an event that is set, whatever happens: asyncio calls what
    `add_done_callback` was given at each end of a task, the thread sets it for all when the loop
    ends, and nobody is let in afterwards.

    Args:
        redis_url: where progress and lines of output are written; None: nowhere.
        resources: makes what the application gives its tasks, once; not on the loop.
    """

    def __init__(self, redis_url: str | None, resources: Callable[[], Any] | None = None) -> None:
        self.resources = resources() if resources is not None else None
        self.redis: Any = async_client(redis_url) if redis_url is not None else None
        """For coroutines on the loop; it connects on first use, there."""
        self._running: dict[Running, str] = {}
        self._on_end = self._hand_on
        self._django = DjangoConnections.of_process()
        self._context = Context()
        """Of what is called at ends: a copy for each would stay as long as its coroutine."""
        # Signal handlers call `stop` on the thread that may hold it.
        self._lock = threading.RLock()
        self._loop = asyncio.new_event_loop()
        self.lost = False
        """Whether the loop has ended. Nothing but its `close` does that; another is needed then."""
        self._thread = threading.Thread(target=self._keep_running, name="event-loop", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        """Tell what runs."""
        return f"<Runtime {len(self._running)} coroutines, {self.resources!r}>"

    def _keep_running(self) -> None:
        """Be the loop's thread: what a callback raises, or `loop.stop()`, does not end it.

        asyncio lets SystemExit and KeyboardInterrupt of any task leave `run_forever`, having noted
        them as that task's end; the loop goes on with the next callback (`Task.__step`,
        `Handle._run`, `BaseEventLoop._run_once`).
        """
        while not self._loop.is_closed():
            try:
                self._loop.run_forever()
            except Exception:
                _logger.exception("the event loop broke")
                break
            except BaseException as error:  # noqa: BLE001  # the thread is everybody's
                _logger.warning("raised in the event loop, which goes on: %r", type(error))
            else:
                _logger.warning("stopped by a coroutine, the event loop goes on")
        _logger.critical("the event loop of the process is lost, another is made")
        with self._lock:
            self.lost = True
            waiting = tuple(self._running)
        for running in waiting:
            if running.task is not None:
                # asyncio would log that it never ended: whoever waits for it is told so.
                running.task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001
            running.end(error=LoopLostError())

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
            LoopLostError: the loop was closed.
            RuntimeError: the loop calls, which would wait for itself.
            BaseException: what the coroutine raised.
        """
        if self.here:
            raise RuntimeError("a coroutine waits for another on its own event loop: await it")
        ended = threading.Event()
        running = Running(lambda _: ended.set())
        with self._lock:
            if self.lost:
                raise LoopLostError
            self._running[running] = task_id
        # From here on `stop` finds it; what came before, while there was no loop yet, is kept.
        running.stop_reason = running.stop_reason or ending_of(task_id).stop_reason
        try:
            self.call(self._begin, running, partial(_started_in, start), limits)
            ended.wait()
        except LoopLostError:
            raise
        except BaseException:
            # A signal (a soft limit of prefork, a shutdown) ended the wait.
            self._stop_and_wait(running, ended)
            raise
        finally:
            with self._lock:
                self._running.pop(running, None)
        if running.error is not None:
            try:
                raise running.error
            finally:
                running.error = None  # it holds this frame, which holds it
        return running.result

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop."""
        return self._loop

    @property
    def here(self) -> bool:
        """Whether the loop's thread asks."""
        return threading.get_ident() == self._thread.ident

    @property
    def thread_id(self) -> int:
        """Of the loop's thread, as `threading.get_ident` says it."""
        return self._thread.ident or 0

    def task_id_of(self, task: "asyncio.Task[Any] | None") -> str | None:
        """Return the id of the task whose coroutine an asyncio task is; None: of none."""
        with self._lock:
            found = (one for running, one in self._running.items() if running.task is task)
            return next(found, None) if task is not None else None

    def call(self, function: Callable[..., Any], *args: Any) -> None:
        """Call a function on the loop, soon; from any thread.

        Raises:
            LoopLostError: the loop was closed.
        """
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError as error:
            raise LoopLostError from error

    def call_later(self, delay_s: float, function: Callable[[], Any]) -> None:
        """Call a function on the loop, whose thread calls this, after a while."""
        self._loop.call_later(delay_s, function)

    def start(
        self,
        task_id: str,
        start: Callable[[], Coroutine[Any, Any, Any]],
        limits: Limits,
        on_end: Callable[[Any, Running], None],
        about: Any = None,
    ) -> Running:
        """Run a coroutine on the loop, whose thread calls this; the arguments are those of `run`.

        Args:
            task_id: by which `stop` finds it.
            start: makes the coroutine, and does nothing else.
            limits: time limits.
            on_end: is handed `about`, and the end; an error is what `run` would raise.
            about: whatever the caller knows it by.
        """
        running = Running(self._on_end, on_end, about)
        with self._lock:
            self._running[running] = task_id
        self._begin(running, start, limits)
        return running

    def _hand_on(self, running: Running) -> None:
        with self._lock:
            self._running.pop(running, None)
        then, running.then = running.then, None
        if then is not None:
            then(running.about, running)

    def _begin(
        self, running: Running, start: Callable[[], Coroutine[Any, Any, Any]], limits: Limits
    ) -> None:
        """Make the asyncio task; on the loop."""
        if running.stop_reason is not None:
            running.end(error=StoppedError(running.stop_reason))  # stopped before it began
            return
        try:
            if self._django is not None:
                start = partial(self._django.around, start)
            coroutine = within(start, limits) if limits.any else start()
            running.scope = copy_context()
            running.task = self._loop.create_task(coroutine, context=running.scope)
            running.task.add_done_callback(running.finish, context=self._context)
            if limits.hard_s:
                wait_s = limits.hard_s + CANCEL_AGAIN_S
                running.again = self._loop.call_later(wait_s, self._cancel_again, running)
        except BaseException as error:  # noqa: BLE001  # or nobody would ever end it
            running.end(error=error)

    def _cancel(self, running: Running) -> None:
        """Cancel a coroutine, which may clean up; on the loop."""
        if running.task is None or running.ended:
            return
        running.task.cancel()
        if running.again is not None:
            running.again.cancel()
        running.again = self._loop.call_later(CLEAN_UP_S, self._cancel_again, running)

    def _cancel_again(self, running: Running) -> None:
        """Cancel a coroutine that has swallowed it, until it ends."""
        if running.task is not None and not running.ended:
            running.task.cancel()
            running.again = self._loop.call_later(CANCEL_AGAIN_S, self._cancel_again, running)

    def _stop_and_wait(self, running: Running, ended: threading.Event) -> None:
        """Cancel a coroutine until it has ended, whatever interrupts that."""
        interruption: BaseException | None = None
        while not ended.is_set():
            try:
                self.stop_one(running, "interrupted")
                ended.wait(CANCEL_AGAIN_S)
            except BaseException as error:  # noqa: BLE001  # another signal
                interruption = error
        if interruption is not None:
            raise interruption

    def stop(self, task_id: str, reason: str) -> bool:
        """Cancel the coroutine of a task.

        Returns:
            Whether it runs here. It ends soon, not at once; `run` then raises StoppedError.
        """
        stopped = False
        with self._lock:
            found = [running for running, one in self._running.items() if one == task_id]
        for running in found:
            if not (running.ended or (running.task is not None and running.task.done())):
                self.stop_one(running, reason)
                stopped = True
        return stopped

    def stop_one(self, running: Running, reason: str) -> None:
        """Cancel one coroutine; it ends soon, not at once."""
        running.stop_reason = running.stop_reason or reason
        with contextlib.suppress(LoopLostError):  # the loop's thread ends them all
            self.call(self._cancel, running)

    def stop_all(self, reason: str) -> None:
        """Cancel every coroutine of this process; in a prefork child that is one at most."""
        with self._lock:
            task_ids = tuple(self._running.values())
        for task_id in task_ids:
            self.stop(task_id, reason)


async def _started_in(start: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Make a coroutine in the context of its task, which it may change."""
    return await start()


async def within(start: Callable[[], Coroutine[Any, Any, Any]], limits: Limits) -> Any:
    """Run a coroutine within its limits; what it raises is that of `Runtime.run`."""
    try:
        async with asyncio.timeout(limits.hard_s) as hard:
            try:
                async with asyncio.timeout(limits.soft_s) as soft:
                    return await start()
            except TimeoutError:
                if soft.expired():
                    raise SoftTimeLimitExceeded(limits.soft_s) from None
                raise
    except (TimeoutError, asyncio.CancelledError):  # the latter when it was cancelled again
        if hard.expired():
            raise TimeLimitExceeded(limits.hard_s) from None
        raise
