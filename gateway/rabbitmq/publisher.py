"""Confirmed publishing: connection, channel, back-pressure.

aio-pika makes the connection, `topology.declare` the layout. This module keeps one publishing
channel open on it and owns every message until its end is known:

    disconnected ──connected──► declaring ──declared──► ready ◄──► blocked
         ▲                          │                     │
         └─ connection lost, or the layout refused: again ┴ within half a second

Only `ready` takes messages; every other state refuses at once with `queued: no`.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable

import aio_pika
from aio_pika.abc import AbstractConnection
from aiormq.exceptions import AMQPError
from yarl import URL

from gateway.cancellation import stop
from gateway.config import GatewayConfig
from gateway.errors import Problem
from gateway.rabbitmq.confirms import ConfirmWindow, InFlight
from gateway.rabbitmq.connection import CONNECT_TIMEOUT_S, amqp_url, major_version
from gateway.rabbitmq.publish_channel import PromptTransport, PublishChannel
from gateway.rabbitmq.task_message import Template
from gateway.sharing.tenant import TENANT
from penstock.looper import Looper
from penstock.wire import tls
from topology.conflicts import explain
from topology.declare import DeclarationError, declare
from topology.model import Topology

log = logging.getLogger(__name__)

RECONNECT_INTERVAL_S = 0.5
_MOST_AT_ONCE = 24
"""Messages in one write. With one write for all that a turn of the loop published, the gateway and
RabbitMQ work in turns instead of both at a time: 7 % fewer submits each second."""
_SWEEP_INTERVAL_S = 0.25
_DECLARE_TIMEOUT_S = 4 * CONNECT_TIMEOUT_S
_PROBE_INTERVAL_S = 1.0
"""While RabbitMQ is silent all but one message in so many seconds are refused: an end that is known
serves a client better than one that is not, until the heartbeat notices the lost connection."""
_BROKER_FAULTS = (AMQPError, OSError, RuntimeError, TimeoutError, asyncio.CancelledError)


class Publisher:
    """Publishes task messages; every publish ends in exactly one outcome.

    Args:
        config: Address, bounds and timeouts.
        topology: Declared whenever a connection is made.
        observe: Told the outcome and latency (seconds) of each message.
    """

    def __init__(
        self,
        config: GatewayConfig,
        topology: Topology,
        observe: Callable[[str, float], None] = lambda _outcome, _latency_s: None,
    ) -> None:
        self._config = config
        self._topology = topology
        self._observe = observe
        self._window = ConfirmWindow(observe)
        self._channel: PublishChannel | None = None
        self._outbox: list[bytes] = []
        self._waiting_for_room: list[tuple[str, int, asyncio.Future[None]]] = []
        self._connection: AbstractConnection | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._wake = asyncio.Event()
        self._probed_at = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self.draining = False
        """Set while shutting down: nothing new is taken."""
        self.declared = False
        """Whether the topology was declared on the present connection."""
        self.declaration_error = ""
        """Why it could not be declared, for /readyz."""
        self.rabbitmq_major: int | None = None
        """Major version of the server connected to last."""
        self.tls_error = ""
        """Why RabbitMQ is not trusted, for /readyz: reconnecting goes on, but mends nothing."""
        self.looper = Looper(
            "publisher",
            self._keep_ready,
            interval_s=0.0,
            deadline_s=2 * CONNECT_TIMEOUT_S + _DECLARE_TIMEOUT_S,
            longest_wait_s=RECONNECT_INTERVAL_S,
            expected=(*_BROKER_FAULTS, DeclarationError),
        )
        """Keeps a connection, the declared layout and an open channel."""
        self.sweeper = Looper("confirm-sweep", self._sweep, interval_s=_SWEEP_INTERVAL_S)
        """Ends the wait for confirms that do not come."""

    def __repr__(self) -> str:
        return f"<Publisher {self.state}, {len(self._window)} in flight, {self._window.size} B>"

    @property
    def state(self) -> str:
        """One word: ready, blocked, draining, declaring or disconnected."""
        if self.draining:
            return "draining"
        if self._channel is not None:
            return "blocked" if self._channel.blocked else "ready"
        connected = self._connection is not None and self._connection.connected.is_set()
        return "declaring" if connected else "disconnected"

    @property
    def inflight_messages(self) -> int:
        """Messages written and not confirmed."""
        return len(self._window)

    @property
    def inflight_bytes(self) -> int:
        """Octets of these."""
        return self._window.size

    async def start(self) -> None:
        """Begin to connect; returns at once, whether RabbitMQ is there or not."""
        self._loop = asyncio.get_running_loop()
        self._tasks = [
            asyncio.create_task(looper.run(), name=looper.name)
            for looper in (self.looper, self.sweeper)
        ]

    async def close(self) -> None:
        """Refuse new messages, wait for the confirms still out, disconnect."""
        self.draining = True
        if inflight := self._window.futures():
            await asyncio.wait(inflight, timeout=self._config.confirm_timeout_s)
        await stop(*self._tasks)
        self._window.lose()

    def publish(
        self,
        template: Template,
        task_id: str,
        body: bytes,
        *,
        queue_count: int = 1,
        message_id: str | None = None,
    ) -> "asyncio.Future[None]":
        """Publish one message; the future resolves when RabbitMQ confirmed it.

        Cancelling the future leaves the message with RabbitMQ; its confirm is then ignored.

        Args:
            template: The constant part.
            task_id: The id spliced in.
            body: The message body.
            queue_count: How many queues match; a nack means "not queued" only when one does.
            message_id: Of the id's length; differs from it for a second copy under one id, as
                it must be unique among the messages in flight.

        Raises:
            Problem: At once: `broker-unavailable`, `topology-conflict`, `broker-blocked`,
                `overloaded`, `draining` (queued: no). From the future: `unroutable`, `queue-full`
                (no), `unconfirmed` (unknown).
        """
        channel = self._channel
        if channel is None or self._loop is None:
            raise self._unusable()
        self._check(channel, len(body))
        octets = task_id.encode()
        frames = template.frames(
            channel=channel.number,
            task_id=octets,
            body=body,
            frame_max=channel.frame_max,
            message_id=message_id.encode() if message_id else None,
        )
        future: asyncio.Future[None] = self._loop.create_future()
        self._window.add(
            InFlight(
                future,
                task_id,
                message_id or task_id,
                len(frames),
                time.monotonic(),
                queue_count,
                TENANT.get(),
            )
        )
        outbox = self._outbox
        outbox.append(frames)
        if len(outbox) == 1:
            self._loop.call_soon(self._flush)
        elif len(outbox) == _MOST_AT_ONCE:
            self._flush()
        return future

    async def room(self, size: int = 0) -> None:
        """Wait until half of the window, or of the tenant's share of it, is free: for streams.

        Args:
            size: Octets of the message that is to fit.

        Raises:
            Problem: `broker-unavailable` (queued: no) when the connection is lost meanwhile.
        """
        tenant = TENANT.get()
        if self._has_room(tenant, size):
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting_for_room.append((tenant, size, waiter))
        await waiter

    def _unusable(self) -> Problem:
        """Why nothing can be published: RabbitMQ is away, or refuses the layout."""
        if self.declaration_error:
            detail = (
                "RabbitMQ refuses the layout: /readyz and the gateway's log say why, and the remedy"
            )
            return Problem("topology-conflict", detail, queued="no")
        return Problem("broker-unavailable", "no connection to RabbitMQ", queued="no")

    def _check(self, channel: PublishChannel, size: int) -> None:
        if self.draining:
            raise Problem("draining", "the gateway is shutting down", queued="no")
        if channel.blocked:
            raise Problem("broker-blocked", "RabbitMQ raised an alarm", queued="no")
        window = self._window
        if window.silent and not self._may_probe():
            raise Problem("broker-unavailable", "RabbitMQ has stopped confirming", queued="no")
        config = self._config
        if (
            len(window) * 2 >= config.max_inflight_messages
            or (window.size + size) * 2 > config.max_inflight_bytes
        ) and not window.shares.admit(
            TENANT.get(), size, config.max_inflight_messages, config.max_inflight_bytes
        ):
            raise Problem("overloaded", "too many messages wait for a confirm", queued="no")

    def _may_probe(self) -> bool:
        """Let one message a second find out whether RabbitMQ confirms again."""
        now = time.monotonic()
        if now - self._probed_at < _PROBE_INTERVAL_S:
            return False
        self._probed_at = now
        return True

    def _flush(self) -> None:
        """Write what was published since the last time as one piece."""
        frames = b"".join(self._outbox)
        self._outbox.clear()  # first: with what could not be written in it, it would never leave
        if self._channel is not None and frames:
            self._channel.write(frames)

    def _has_room(self, tenant: str, size: int) -> bool:
        """Whether a tenant may publish so many octets, with as much again in reserve."""
        window, config = self._window, self._config
        most, most_bytes = config.max_inflight_messages, config.max_inflight_bytes
        if len(window) * 2 < most and window.size * 2 < most_bytes:
            return True
        return window.shares.has_room(tenant, size, most, most_bytes)

    def on_confirm(self, delivery_tag: int, *, multiple: bool, ack: bool) -> None:
        """Basic.Ack or Basic.Nack, from the channel."""
        self._window.confirm(delivery_tag, multiple=multiple, ack=ack)
        if self._waiting_for_room:
            self._tell_of_room()

    def _tell_of_room(self) -> None:
        waiters, self._waiting_for_room = self._waiting_for_room, []
        for tenant, size, waiter in waiters:
            if waiter.done():
                continue
            if self._has_room(tenant, size):
                waiter.set_result(None)
            else:
                self._waiting_for_room.append((tenant, size, waiter))

    def on_return(self, message_id: str, reason: str) -> None:
        """Basic.Return, from the channel."""
        self._window.mark_returned(message_id, reason)

    def on_lost(self, reason: BaseException | None) -> None:
        """The channel closed: all in flight is unknown; the supervisor opens another."""
        if self._channel is None:
            return
        log.warning(
            "publish-channel-lost",
            extra={"in_flight": len(self._window), "reason": repr(reason)},
        )
        self._channel = None
        self._outbox.clear()
        self._window.lose()
        waiters, self._waiting_for_room = self._waiting_for_room, []
        for _, _, waiter in waiters:
            if not waiter.done():
                waiter.set_exception(
                    Problem("broker-unavailable", "the connection was lost", queued="no")
                )
        self._wake.set()

    async def _sweep(self) -> None:
        self._window.sweep(time.monotonic() - self._config.confirm_timeout_s)

    async def _keep_ready(self) -> None:
        """Connect, declare the layout, open the channel, and again whenever the channel is lost.

        Raises:
            DeclarationError, AMQPError, OSError, RuntimeError: RabbitMQ is away or refuses; the
                connection is closed.
        """
        # Not aio-pika's robust connection: how long it waits, and for what it gives up, is its own.
        connection = aio_pika.Connection(URL(amqp_url(self._config.amqp_url, "penstock-gateway")))
        transport = PromptTransport()
        transport.serve(connection)
        self._connection = connection
        try:
            await connection.connect(timeout=CONNECT_TIMEOUT_S)
            self.tls_error = ""
            while connection.connected.is_set():
                self._wake.clear()
                await self._prepare(connection, transport)
                log.info("publisher-ready")
                self.looper.well()
                await self._wake.wait()
        except Exception as error:
            self._note_refusal(error)
            raise
        finally:
            self._channel = None
            with contextlib.suppress(*_BROKER_FAULTS):
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    await connection.close()

    def _note_refusal(self, error: Exception) -> None:
        """Log once that it is TLS: an operator must act, while a server that is away comes back."""
        if not isinstance(error, DeclarationError):
            self.declaration_error = ""  # RabbitMQ is away, or does not trust us: that is the news
        refusal = tls.refusal(error)
        if refusal and refusal != self.tls_error:
            log.error("broker-tls-failed", extra={"reason": refusal})
        self.tls_error = refusal

    async def _prepare(self, connection: AbstractConnection, transport: PromptTransport) -> None:
        """Declare the layout and open the channel.

        Raises:
            DeclarationError, AMQPError, OSError, RuntimeError: It cannot be done.
        """
        self.declared = False
        if connection.transport is not None:
            self.rabbitmq_major = major_version(connection.transport.connection.server_properties)
        try:
            async with asyncio.timeout(_DECLARE_TIMEOUT_S):
                await declare(connection, self._topology)
        except DeclarationError as error:
            text = explain(error, self._topology.source)
            if text != self.declaration_error:
                log.error("topology-conflict", extra={"detail": text})  # noqa: TRY400  # the text is all
            self.declaration_error = text
            raise
        self.declared = True
        self.declaration_error = ""
        self._window = ConfirmWindow(self._observe)
        self._channel = await PublishChannel.open(
            connection, transport, self, timeout_s=CONNECT_TIMEOUT_S
        )
