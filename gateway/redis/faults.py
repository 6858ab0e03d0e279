"""What can go wrong with Redis: each failure of the library as one of ours."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from redis.exceptions import OutOfMemoryError, RedisError

from gateway.cancellation import told_to_stop
from gateway.errors import Problem
from penstock.looper import described
from penstock.wire import tls


class RedisAwayError(Problem):
    """Redis cannot be reached, is loading its data, or refuses commands.

    Args:
        reason: For logs; the client gets `state-unavailable`.
    """

    detail_words = "does not answer"

    def __init__(self, reason: str) -> None:
        words = f"Redis, which holds the task states, {self.detail_words}"
        super().__init__("state-unavailable", words)
        self.reason = reason

    def __str__(self) -> str:
        """Return the reason, for logs."""
        return self.reason


class RedisFullError(RedisAwayError):
    """Redis is at its `maxmemory`: it reads and deletes, and refuses to store."""

    detail_words = "is full"


class WrongTypeError(RedisAwayError):
    """A key holds something else than what this deployment writes there: waiting does not help."""


@contextlib.asynccontextmanager
async def bounded(timeout_s: float) -> AsyncIterator[None]:
    """Bound commands in time, and turn each failure of the library into one of ours.

    Args:
        timeout_s: For all of the commands, waiting for a free connection included.

    Raises:
        RedisAwayError: Whatever went wrong; WrongTypeError where it is one key's content,
            RedisFullError where nothing can be stored.
    """
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except (RedisError, OSError, TimeoutError) as error:
        if told_to_stop():
            raise asyncio.CancelledError from error
        raise _kind(error)(tls.refusal(error) or described(error)) from error


def _kind(error: Exception) -> type[RedisAwayError]:
    if isinstance(error, OutOfMemoryError):
        return RedisFullError
    return WrongTypeError if "WRONGTYPE" in str(error) else RedisAwayError
