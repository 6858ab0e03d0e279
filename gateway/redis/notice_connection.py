"""The connection that notices come by: it is only ever subscribed."""

import asyncio
import contextlib

from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from gateway.redis.client import COMMAND_TIMEOUT_S, CONNECT_TIMEOUT_S, RESP2, SOCKET_TIMEOUT_S
from gateway.redis.faults import RedisAwayError, bounded
from penstock.redis_connections import async_pool_options


class NoticeConnection:
    """One connection that is only subscribed: raw bytes out, chunks of raw bytes in.

    redis-py makes the connection (TLS, AUTH, SELECT); its PubSub class is not used, because it
    costs more per message than all the rest of the gateway, and resubscribes silently.

    Args:
        url: As for `RedisClient`.
    """

    def __init__(self, url: str) -> None:
        options = async_pool_options(
            url,
            socket_timeout=SOCKET_TIMEOUT_S,
            socket_connect_timeout=CONNECT_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
            protocol=RESP2,
        )
        pool: ConnectionPool = ConnectionPool(**options)
        self._connection = pool.make_connection()  # type: ignore[no-untyped-call]
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def open(self) -> None:
        """Connect and authenticate.

        Raises:
            RedisAwayError: It did not work.
        """
        async with bounded(COMMAND_TIMEOUT_S):
            await self._connection.connect()
        # redis-py has no public way to these two; the version is pinned and a test reads both.
        self._reader = self._connection._reader  # noqa: SLF001
        self._writer = self._connection._writer  # noqa: SLF001

    def write(self, command: bytes) -> None:
        """Write an encoded command; it leaves in the background."""
        if self._writer is not None:
            self._writer.write(command)

    async def read(self) -> bytes:
        """Return the next bytes, however long they take: an idle subscription is a healthy one.

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
