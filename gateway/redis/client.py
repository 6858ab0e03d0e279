"""The only place that builds Redis clients: one pool for commands, one connection for notices."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from redis.asyncio import BlockingConnectionPool, ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import OutOfMemoryError, RedisError

from gateway.cancellation import told_to_stop
from gateway.errors import Problem
from penstock.looper import described
from penstock.wire import tls

COMMAND_TIMEOUT_S = 3.0
"""How long a command may take in all, waiting for a free connection included."""
_SOCKET_TIMEOUT_S = 2.5
_CONNECT_TIMEOUT_S = 1.5
_MAX_CONNECTIONS = 32
_RESP2 = 2
"""Notices come as plain arrays, and the pure Python parser is at its fastest."""


class RedisAwayError(Problem):
    """Redis cannot be reached, is loading its data, or refuses commands.

    Args:
        reason: For logs; the client is told `state-unavailable`.
    """

    detail_words = "does not answer"

    def __init__(self, reason: str) -> None:
        words = f"Redis, which holds the task states, {self.detail_words}"
        super().__init__("state-unavailable", words)
        self.reason = reason

    def __str__(self) -> str:
        """For logs: the reason."""
        return self.reason


def make_redis(url: str) -> Redis:
    """A client for commands; connects when first used.

    Every call ends within `COMMAND_TIMEOUT_S`; a stale connection of the pool is tried again once.

    Args:
        url: `redis://`, `rediss://` or `unix://`.
    """
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=_MAX_CONNECTIONS,
        timeout=COMMAND_TIMEOUT_S,
        socket_timeout=_SOCKET_TIMEOUT_S,
        socket_connect_timeout=_CONNECT_TIMEOUT_S,
        retry=Retry(NoBackoff(), 1),
        protocol=_RESP2,
    )
    return Redis.from_pool(pool)


class RedisFullError(RedisAwayError):
    """Redis is at its `maxmemory`: it reads and deletes, and refuses to store."""

    detail_words = "is full"


class WrongTypeError(RedisAwayError):
    """A key holds something else than what this deployment writes there: waiting does not help."""


@contextlib.asynccontextmanager
async def commands() -> AsyncIterator[None]:
    """Bound commands in time, and turn each failure of the client into one of ours.

    Raises:
        RedisAwayError: Whatever went wrong; WrongTypeError where it is one key's content,
            RedisFullError where nothing can be stored.
    """
    try:
        async with asyncio.timeout(COMMAND_TIMEOUT_S):
            yield
    except (RedisError, OSError, TimeoutError) as error:
        if told_to_stop():
            raise asyncio.CancelledError from error
        raise _kind(error)(tls.refusal(error) or described(error)) from error


def _kind(error: Exception) -> type[RedisAwayError]:
    if isinstance(error, OutOfMemoryError):
        return RedisFullError
    return WrongTypeError if "WRONGTYPE" in str(error) else RedisAwayError


class NoticeConnection:
    """One connection that is only subscribed: raw bytes out, chunks of raw bytes in.

    redis-py makes the connection (TLS, AUTH, SELECT); its PubSub class is not used, because it
    costs more per message than all the rest of the gateway, and resubscribes silently.

    Args:
        url: As for `make_redis`.
    """

    def __init__(self, url: str) -> None:
        pool: ConnectionPool = ConnectionPool.from_url(
            url,
            socket_timeout=_SOCKET_TIMEOUT_S,
            socket_connect_timeout=_CONNECT_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
            protocol=_RESP2,
        )
        self._connection = pool.make_connection()  # type: ignore[no-untyped-call]
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def open(self) -> None:
        """Connect and authenticate.

        Raises:
            RedisAwayError: It did not work.
        """
        async with commands():
            await self._connection.connect()
        # redis-py has no public way to these two; the version is pinned and a test reads both.
        self._reader = self._connection._reader  # noqa: SLF001
        self._writer = self._connection._writer  # noqa: SLF001

    def write(self, command: bytes) -> None:
        """Write an encoded command; it leaves in the background."""
        if self._writer is not None:
            self._writer.write(command)

    async def read(self) -> bytes:
        """The next bytes, however long they take: an idle subscription is a healthy one.

        Raises:
            RedisAwayError: The connection was lost.
        """
        if self._reader is None:
            raise RedisAwayError("not connected")
        try:
            chunk = await self._reader.read(1 << 18)
        except OSError as error:
            raise RedisAwayError(repr(error)) from error
        if not chunk:
            raise RedisAwayError("Redis closed the connection")
        return chunk

    def abort(self) -> None:
        """Cut the connection; `read` then raises."""
        if self._writer is not None:
            self._writer.transport.abort()

    async def close(self) -> None:
        """Disconnect."""
        self._reader = self._writer = None
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            await self._connection.disconnect(nowait=True)
