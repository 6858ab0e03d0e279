"""Waiting for what will be true soon: the only way in which tests wait."""

import asyncio
import inspect
import os
import time
from collections.abc import Callable
from typing import Any

PATIENCE = 2.0 if "CI" in os.environ else 1.0
"""Times as long: machines of CI have slow days, and what is true soon is not waited for."""


async def eventually(
    predicate: Callable[[], Any], timeout_s: float = 5.0, every_s: float = 0.02
) -> Any:
    """Ask until the answer is true, and return it.

    Args:
        predicate: Function or coroutine function; an AssertionError in it is a no.
        timeout_s: Seconds until this gives up, on a machine of one's own.
        every_s: Seconds between two questions.

    Raises:
        AssertionError: it was never true; with the last answer.
    """
    timeout_s *= PATIENCE
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
