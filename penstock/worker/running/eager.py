"""Eager execution of coroutines (`apply`, `task_always_eager`) from inside of a coroutine.

Nothing there awaits the result, and the event loop of the process stands still until it is known.
So the task runs on a thread of its own, on an event loop of its own.
"""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from typing import Any

from penstock.worker.running.runtime import Limits, within

_loop_waits: ContextVar[bool] = ContextVar("loop_waits", default=False)
"""Whether the event loop of the process stands still until this context is done."""


def loop_waits() -> bool:
    """Return whether the event loop of the process waits for the caller."""
    return _loop_waits.get()


def beside(call: Callable[[], Any]) -> Any:
    """Call a function on another thread, in the same context, and wait for its result."""
    context = copy_context()
    context.run(lambda: _loop_waits.set(True))
    with ThreadPoolExecutor(1, thread_name_prefix="eager") as thread:
        return thread.submit(context.run, call).result()


def run_alone(start: Callable[[], Coroutine[Any, Any, Any]], limits: Limits) -> Any:
    """Run a coroutine on an event loop of its own and wait for its end.

    Args:
        start: makes the coroutine; called on the loop.
        limits: time limits.

    Raises:
        SoftTimeLimitExceeded: the soft limit passed.
        TimeLimitExceeded: the hard limit passed.
        BaseException: what the coroutine raised.
    """
    with asyncio.Runner() as runner:
        return runner.run(within(start, limits))
