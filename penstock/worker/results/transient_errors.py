"""Which errors of Redis end when it, or who runs it, has mended something."""

from redis.exceptions import (
    AuthenticationError,
    ClusterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import (
    ConnectionError as RedisConnectionError,
)
from redis.exceptions import (
    TimeoutError as RedisTimeoutError,
)

_TRANSIENT = (
    "LOADING", "MISCONF", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "NOREPLICAS", "BUSY", "-OOM ",
    "-READONLY ", "executing the script can't run",
)  # fmt: skip
"""In errors that end when Redis, or who runs it, has mended something. Redis 6 puts what a command
of a script answered behind its place in the script."""


def is_transient(error: BaseException) -> bool:
    """Tell whether waiting for Redis can help."""
    if isinstance(error, ResponseError) and any(word in str(error) for word in _TRANSIENT):
        return True
    return isinstance(
        error,
        RedisConnectionError
        | RedisTimeoutError
        | AuthenticationError
        | OutOfMemoryError
        | ReadOnlyError
        | NoPermissionError
        | ClusterDownError
        | TryAgainError
        | OSError,
    )
