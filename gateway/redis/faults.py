"""What can go wrong with Redis: each failure of the library as one of ours."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterCrossSlotError,
    ClusterDownError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from gateway.cancellation import told_to_stop
from gateway.errors import Problem
from penstock.looper import described
from penstock.wire import tls

DOES_NOT_ANSWER = "does not answer"
_LOADS = "is loading its data"


class RedisAwayError(Problem):
    """Redis cannot be reached, is loading its data, or refuses commands.

    Args:
        reason: For logs; the client gets `state-unavailable`.
        words: What Redis does instead, for people.
    """

    def __init__(self, reason: str, words: str = DOES_NOT_ANSWER) -> None:
        super().__init__("state-unavailable", f"Redis, which holds the task states, {words}")
        self.reason = reason
        self.words = words

    def __str__(self) -> str:
        """Return the reason, for logs."""
        return self.reason

    @property
    def refuses(self) -> bool:
        """Whether Redis is there and will not store until somebody mends it."""
        return self.words not in {DOES_NOT_ANSWER, _LOADS}

    @property
    def told(self) -> str:
        """What Redis does, and what it said, for whoever runs it."""
        return self.reason if self.words == DOES_NOT_ANSWER else f"{self.words}: {self.reason}"


class RefusedError(RedisAwayError):
    """Redis answers, and cannot do this one thing: others may go well."""


class WrongTypeError(RefusedError):
    """A key holds something else than what this deployment writes there: waiting does not help."""


class NotCopiedError(RedisAwayError):
    """It was written, and too few replicas have it: a failover may lose it.

    Args:
        answer: What the script answered.
        copies: How many replicas have it.
        wanted: `REDIS_WAIT_REPLICAS`.
    """

    def __init__(self, answer: Any, copies: int, wanted: int) -> None:
        words = "did not copy it to a replica in time"
        super().__init__(f"copied to {copies} replicas of {wanted}", words)
        self.answer = answer


_REFUSALS = {
    "OOM ": "is full",
    "READONLY ": "is a read-only replica",
    "is now a slave": "is a read-only replica",
    "is no primary: ": "is a read-only replica",
    "NOREPLICAS ": "stores nothing while too few replicas follow it (min-replicas-to-write)",
    "MISCONF ": "stores nothing because it cannot write to its disk",
    "CROSSSLOT": "is a Redis Cluster, which is not supported",
    "MOVED ": "is a Redis Cluster, which is not supported",
    "CLUSTERDOWN ": "is a Redis Cluster, which is not supported",
    "keys must hash to the same slot": "is a Redis Cluster, which is not supported",
    "LOADING ": _LOADS,
    "NOAUTH ": "refuses our login",
    "WRONGPASS ": "refuses our login",
    "NOPERM ": "does not let our account store",
}
"""Words in Redis' answer → what it says of Redis. redis-py takes some words off its errors."""
_KINDS = {
    OutOfMemoryError: "OOM ",
    ReadOnlyError: "READONLY ",
    ClusterCrossSlotError: "CROSSSLOT",
    MovedError: "MOVED ",
    ClusterDownError: "CLUSTERDOWN ",
    BusyLoadingError: "LOADING ",
    AuthenticationError: "NOAUTH ",
    NoPermissionError: "NOPERM ",
}


@contextlib.asynccontextmanager
async def bounded(timeout_s: float) -> AsyncIterator[None]:
    """Bound commands in time, and turn each failure of the library into one of ours.

    Args:
        timeout_s: For all of the commands, waiting for a free connection included.

    Raises:
        RedisAwayError: Whatever went wrong; RefusedError where Redis does answer, WrongTypeError
            where it is one key's content.
    """
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except (RedisError, OSError, TimeoutError) as error:
        if told_to_stop():
            raise asyncio.CancelledError from error
        reason = tls.refusal(error) or described(error)
        raise _kind(error)(reason, _words(error)) from error


def _kind(error: Exception) -> type[RedisAwayError]:
    if not isinstance(error, ResponseError) or _words(error) != DOES_NOT_ANSWER:
        return RedisAwayError
    return WrongTypeError if "WRONGTYPE" in str(error) else RefusedError


def _words(error: Exception) -> str:
    kind = next((word for cls, word in _KINDS.items() if isinstance(error, cls)), "")
    text = f"{kind}{error}"
    return next((words for word, words in _REFUSALS.items() if word in text), DOES_NOT_ANSWER)
