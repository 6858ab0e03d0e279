"""One AMQP connection: made again by one loop whenever it is lost, lent out by the channel.

    apart ──connected──► open ──lost, or silent──► apart: again within half a second

A process has two. One publishes, and RabbitMQ stops reading from it while it has a memory or disk
alarm. The other never publishes: consumers, queue depths, dead letters and replies of workers go on
meanwhile.
"""

import asyncio
import contextlib
import itertools
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import aio_pika
from aio_pika.abc import AbstractConnection
from aiormq.abc import AbstractChannel
from yarl import URL

from gateway.errors import Queued
from gateway.rabbitmq.faults import BrokerAwayError, broker_calls
from gateway.rabbitmq.publish_channel import PromptTransport
from gateway.rabbitmq.undecodable import survive_undecodable
from penstock.looper import Looper, described
from penstock.wire import tls
from penstock.wire.hosts import shuffled

log = logging.getLogger(__name__)

HEARTBEAT_S: Final = 10
"""AMQP heartbeat unless the URL names one. RabbitMQ gives up a client that is silent for twice as
long, aiormq a RabbitMQ that is silent for 33 s (its `HEARTBEAT_GRACE_MULTIPLIER`)."""
CONNECT_TIMEOUT_S: Final = 5.0
RECONNECT_INTERVAL_S: Final = 0.5
"""Longest wait between two attempts to connect."""
_OPEN_TIMEOUT_S: Final = 5.0
_CLOSE_TIMEOUT_S: Final = 1.0
"""A lost or silent RabbitMQ answers no farewell, and the next host waits for its end."""
_ASKED_EVERY_S: Final = 2.0
_AFTER_WITHIN_S: Final = 3.0


class Connection:
    """A connection that comes back, and its channels.

    Args:
        url: RabbitMQ, all hosts of a cluster: each attempt takes the next one.
        name: One word for the loop, and `penstock-<name>` for what RabbitMQ lists.
        silent_after_s: How long RabbitMQ may take to answer on an idle channel before the
            connection is given up; None: heartbeats alone decide, as on a connection that
            publishes, where a question waits behind what RabbitMQ has still to read.
        transport: Makes its sockets; None: aiormq does.
        after: What this waits for before its first attempt, a moment at most: who consumes a queue
            of a new RabbitMQ while it is being made loses the connection.
    """

    def __init__(
        self,
        url: str,
        name: str,
        *,
        silent_after_s: float | None = None,
        transport: PromptTransport | None = None,
        after: asyncio.Event | None = None,
    ) -> None:
        survive_undecodable()
        urls = [URL(amqp_url(one, f"penstock-{name}")) for one in shuffled(url)]
        self._urls = itertools.cycle(urls)
        self.others = len(urls) > 1
        """Whether there is another host to go to."""
        self._silent_after_s = silent_after_s
        self._transport = transport
        self._after = after
        self._connection: AbstractConnection | None = None
        self._lost: asyncio.Future[str]
        self._waiting: list[asyncio.Future[AbstractConnection | BrokerAwayError]] = []
        self.rabbitmq_major: int | None = None
        """Major version of the server connected to last; None: not known."""
        self.tls_error = ""
        """Why RabbitMQ is not trusted, for /readyz: connecting goes on, but mends nothing."""
        self.looper = Looper(
            name,
            self._keep,
            interval_s=0.0,
            deadline_s=2 * CONNECT_TIMEOUT_S,
            longest_wait_s=RECONNECT_INTERVAL_S,
            expected=(BrokerAwayError,),
        )
        """Keeps the connection."""

    def __repr__(self) -> str:
        """Say whether it is open."""
        return f"<Connection {self.looper.name}, {'open' if self.is_open else 'apart'}>"

    @property
    def is_open(self) -> bool:
        """Whether there is a connection."""
        return self._connection is not None

    async def opened(self, *, queued: Queued | None = None) -> AbstractConnection:
        """Return the connection, or wait for the outcome of the next attempt to connect.

        The caller bounds the wait.

        Args:
            queued: What a failure means for the message at hand.

        Raises:
            BrokerAwayError: The attempt failed.
        """
        if self._connection is not None:
            return self._connection
        waiter: asyncio.Future[AbstractConnection | BrokerAwayError]
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        found = await waiter
        if isinstance(found, BrokerAwayError):
            raise BrokerAwayError(found.reason, queued=queued) from found
        return found

    async def own_channel(self, *, queued: Queued | None = None) -> AbstractChannel:
        """Open a channel for one who keeps it, and opens another when it is closed.

        It is aiormq's: aio-pika keeps 4 KiB for each channel that a connection ever had. aiormq
        closes it when a call on it is cancelled.

        Args:
            queued: What a failure means for the message at hand.

        Raises:
            BrokerAwayError: There is no connection.
        """
        async with broker_calls(_OPEN_TIMEOUT_S, queued=queued):
            return await _channel_on(await self.opened(queued=queued))

    @contextlib.asynccontextmanager
    async def channel(self, *, queued: Queued | None = None) -> AsyncIterator[AbstractChannel]:
        """Lend a channel of its own: what ends it ends nothing else.

        Args:
            queued: What a failure means for the message at hand.

        Raises:
            BrokerAwayError: There is no connection, or it was lost in the body.
            MissingEntityError: The body asked for what does not exist.
        """
        channel = await self.own_channel(queued=queued)
        try:
            async with broker_calls(None, queued=queued):
                yield channel
        finally:
            with contextlib.suppress(BrokerAwayError):
                async with broker_calls(_CLOSE_TIMEOUT_S):
                    await channel.close()

    def give_up(self, connection: AbstractConnection, reason: str) -> None:
        """Close the connection, unless that has happened, and make another.

        Args:
            connection: Which.
            reason: What a user of it met with.
        """
        if connection is self._connection:
            _resolve(self._lost, reason)

    async def _keep(self) -> None:
        """Connect, and watch the connection until it is lost.

        Raises:
            BrokerAwayError: It could not be made, or was lost; it is closed.
        """
        if self._after is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._after.wait(), _AFTER_WITHIN_S)
            self._after = None
        # Not aio-pika's robust connection: how long it waits, and for what it gives up, is its own.
        connection = aio_pika.Connection(next(self._urls))
        if self._transport is not None:
            self._transport.serve(connection)
        self._lost = lost = asyncio.get_running_loop().create_future()
        connection.close_callbacks.add(
            lambda _, error=None: _resolve(lost, described(error) if error else "closed")
        )
        try:
            async with broker_calls(None):
                await connection.connect(timeout=CONNECT_TIMEOUT_S)
            self._note_open(connection)
            await self._until_lost(connection)
        except BrokerAwayError as error:
            self._note_loss(error)
            raise
        finally:
            self._connection = None
            with contextlib.suppress(BrokerAwayError):
                async with broker_calls(_CLOSE_TIMEOUT_S):
                    await connection.close()

    async def _until_lost(self, connection: AbstractConnection) -> None:
        """Watch the connection.

        Raises:
            BrokerAwayError: It was lost, or RabbitMQ did not answer in time.
        """
        if self._silent_after_s is not None:
            async with broker_calls(_OPEN_TIMEOUT_S):
                channel = await _channel_on(connection)
            while not (await asyncio.wait([self._lost], timeout=_ASKED_EVERY_S))[0]:
                async with broker_calls(self._silent_after_s):
                    await channel.basic_qos(prefetch_count=1)
        raise BrokerAwayError(f"the connection was lost: {await self._lost}")

    def _note_open(self, connection: AbstractConnection) -> None:
        if connection.transport is not None:
            server = connection.transport.connection.server_properties
            self.rabbitmq_major = major_version(server)
        self.tls_error = ""
        self._connection = connection
        self.looper.well()
        self._answer(connection)

    def _note_loss(self, error: BrokerAwayError) -> None:
        """Log once that it is TLS: an operator must act, while a server that is away comes back."""
        refusal = tls.refusal(error)
        if refusal and refusal != self.tls_error:
            log.error(
                "broker-tls-failed", extra={"reason": refusal, "connection": self.looper.name}
            )
        self.tls_error = refusal
        self._connection = None
        self._answer(error)

    def _answer(self, found: AbstractConnection | BrokerAwayError) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(found)


def _resolve(lost: "asyncio.Future[str]", reason: str) -> None:
    if not lost.done():
        lost.set_result(reason)


async def _channel_on(connection: AbstractConnection) -> AbstractChannel:
    if connection.transport is None:
        raise ConnectionError("the connection is closed")
    return await connection.transport.connection.channel(publisher_confirms=False)


def amqp_url(url: str, connection_name: str) -> str:
    """Return the URL with a heartbeat and a connection name unless it has them.

    Args:
        url: `amqp://` or `amqps://` with one host, in aio-pika's form.
        connection_name: What RabbitMQ lists the connection as.
    """
    parsed = URL(url)
    extra = {"heartbeat": str(HEARTBEAT_S), "name": connection_name}
    return str(parsed.extend_query({k: v for k, v in extra.items() if k not in parsed.query}))


def major_version(server_properties: Mapping[str, Any]) -> int | None:
    """Return RabbitMQ's major version; None where it does not say.

    Args:
        server_properties: Of `connection.start`.
    """
    version = server_properties.get("version")
    text = version.decode("ascii", "replace") if isinstance(version, bytes) else str(version)
    major = text.partition(".")[0]
    return int(major) if major.isascii() and major.isdigit() else None
