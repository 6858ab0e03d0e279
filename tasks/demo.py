"""Tasks to try a deployment with: one for each way that a task can go."""

import asyncio
from typing import Any

from penstock.worker.errors import RetryableError
from penstock.worker.running.context import TaskContext

FLAKY_RETRY_S = 1.0

Json = None | bool | int | float | str | list[Any] | dict[str, Any]
"""Anything that JSON can say."""


def add(x: int, y: int) -> int:
    """Return the sum of two integers."""
    return x + y


def total(values: list[float]) -> float:
    """Return the sum of a list of numbers: the body of a chord."""
    return sum(values)


def echo(value: Json) -> Json:
    """Return what it is given."""
    return value


async def sleep(seconds: float) -> float:
    """Do nothing for that many seconds, and return them."""
    await asyncio.sleep(seconds)
    return seconds


def fail(message: str) -> None:
    """Fail with this message."""
    raise RuntimeError(message)


def flaky(context: TaskContext[Any], failures: int) -> int:
    """Fail that often, one second apart, and then return the number of attempts."""
    if context.retries < failures:
        raise RetryableError(
            f"attempt {context.retries + 1} of {failures + 1} fails, as asked",
            retry_in_s=FLAKY_RETRY_S,
        )
    return context.retries + 1


async def progress(context: TaskContext[Any], steps: int, delay_s: float = 0.1) -> int:
    """Take that many steps, tell of each, and return their number."""
    for step in range(1, steps + 1):
        await asyncio.sleep(delay_s)
        await context.progress(step, steps, f"step {step} of {steps}")
    return steps
