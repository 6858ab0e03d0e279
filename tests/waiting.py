"""Waiting for what will be true soon: the only way in which tests wait."""

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any


async def eventually(
    predicate: Callable[[], Any], timeout_s: float = 5.0, every_s: float = 0.02
) -> Any:
    """Ask until the answer is true, and return it.

    Args:
        predicate: Function or coroutine function; an AssertionError in it is a no.
        timeout_s: Seconds until this gives up.
        every_s: Seconds between two questions.

    Raises:
        AssertionError: it was never true; with the last answer.
    """
    deadline = time.monotonic() + timeout_s
    last: Any = None
    while True:
        try:
            last = predicate()
            if inspect.isawaitable(last):
                last = await last
        except AssertionError as error:
            last = error
        else:
            if last:
                return last
        if time.monotonic() > deadline:
            raise AssertionError(f"not true within {timeout_s:g} s; the last answer was {last!r}")
        await asyncio.sleep(every_s)
