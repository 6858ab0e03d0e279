"""Confirmed publishing: the declared layout, an open channel, back-pressure.

On a connection of its own the publisher declares the layout, keeps one publishing channel open,
and owns every message until its end is known:

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
from typing import Final

from aio_pika.abc import AbstractConnection

from gateway.cancellation import stop
from gateway.config import GatewayConfig
from gateway.errors import Problem
from gateway.rabbitmq.burst import Burst
from gateway.rabbitmq.confirms import ConfirmWindow, InFlight
from gateway.rabbitmq.connection import CONNECT_TIMEOUT_S, RECONNECT_INTERVAL_S, Connection
from gateway.rabbitmq.declaring import Declaring
from gateway.rabbitmq.faults import BrokerAwayError, broker_calls
from gateway.rabbitmq.message import Publishable
from gateway.rabbitmq.publish_channel import PromptTransport, PublishChannel
from gateway.rabbitmq.room import Room
from gateway.sharing.tenant import TENANT
from penstock.looper import Faults, Looper
from topology.errors import DeclarationError
from topology.model import Topology

log = logging.getLogger(__name__)

_MOST_AT_ONCE: Final = 24
"""Messages in one write. With one write for all that a turn of the loop published, the gateway and
RabbitMQ work in turns instead of both at a time: 7 % fewer submits each second."""
_SWEEP_INTERVAL_S: Final = 0.25
_DECLARE_TIMEOUT_S: Final = 20.0
_OPEN_TIMEOUT_S: Final = 5.0
_AGAIN_S: Final = 5.0
"""How soon what is not there of the layout is looked for again."""
_SILENT_FOR_S: Final = 1.0
"""A node of several that confirms nothing is left so long after the first confirm was overdue: the
others may have lost it, and it does not know."""
_PROBE_INTERVAL_S: Final = 1.0
"""While RabbitMQ is silent all but one message in so many seconds are refused: an end that is known
serves a client better than one that is not, until the heartbeat notices the lost connection."""


class Publisher:
    """Publishes task messages; every publish ends in exactly one outcome.

    Args:
        config: Address, bounds and timeouts.
        topology: Declared whenever a connection is made.
        observe: Called with the outcome and latency (seconds) of each message.
    """

    def __init__(
        self,
        config: GatewayConfig,
        topology: Topology,
        observe: Callable[[str, float], None] = lambda _outcome, _latency_s: None,
    ) -> None:
        self._config = config
        self._observe = observe
        self._window = ConfirmWindow(observe)
        self._channel: PublishChannel | None = None
        self._outbox: list[bytes] = []
        self._room = Room(config)
        self._transport = PromptTransport()
        self._connection = Connection(config.amqp_url, "publishing", transport=self._transport)
        self._using: AbstractConnection | None = None
        """What the channel is on."""
        self._tasks: list[asyncio.Task[None]] = []
        self._lost = asyncio.Event()
        self._probed_at = 0.0
        self._alarmed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self.draining = False
        """Set while shutting down: nothing new is taken."""
        self.layout = Declaring(topology)
        """What came of the declaration of the layout, for /readyz."""
        self._incomplete = Faults("layout-not-completed", expected=(BrokerAwayError,))
        self.looper = Looper(
            "publisher",
            self._keep_ready,
            interval_s=0.0,
            deadline_s=2 * CONNECT_TIMEOUT_S + _DECLARE_TIMEOUT_S + _OPEN_TIMEOUT_S,
            longest_wait_s=RECONNECT_INTERVAL_S,
            expected=(BrokerAwayError, DeclarationError),
        )
        """Keeps the layout declared and a channel open."""
        self.sweeper = Looper("confirm-sweep", self._sweep, interval_s=_SWEEP_INTERVAL_S)
        """Ends the wait for confirms that do not come."""
        self.loopers = (self.looper, self.sweeper, self._connection.looper)
        """All that it runs."""

    def __repr__(self) -> str:
        return f"<Publisher {self.state}, {len(self._window)} in flight, {self._window.size} B>"

    @property
    def state(self) -> str:
        """One word: ready, blocked, draining, declaring or disconnected."""
        if self.draining:
            return "draining"
        if self._channel is not None:
            return "blocked" if self._channel.blocked else "ready"
        return "declaring" if self._connection.is_open else "disconnected"

    @property
    def rabbitmq_major(self) -> int | None:
        """Major version of the server connected to last; None: not known."""
        return self._connection.rabbitmq_major

    @property
    def tls_error(self) -> str:
        """Why RabbitMQ is not trusted, for /readyz."""
        return self._connection.tls_error

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
            asyncio.create_task(looper.run(), name=looper.name) for looper in self.loopers
        ]

    async def close(self) -> None:
        """Refuse new messages, wait for the confirms still out, disconnect."""
        self.draining = True
        if inflight := self._window.futures():
            await asyncio.wait(inflight, timeout=self._config.confirm_timeout_s)
        await stop(*self._tasks[:-1])
        await stop(*self._tasks)  # the connection last
        self._window.lose()

    def publish(
        self,
        message: Publishable,
        task_id: str,
        body: bytes,
        *,
        queue_count: int | None = None,
        message_id: str | None = None,
        headers: bytes = b"",
        burst: Burst | None = None,
    ) -> "asyncio.Future[None]":
        """Publish one message; the future resolves when RabbitMQ confirmed it.

        Cancelling the future leaves the message with RabbitMQ; its confirm is then ignored.

        Args:
            message: The rest of it: where it goes, and what it says of the body.
            task_id: What it is about; the id that an `unconfirmed` names.
            body: The message body.
            queue_count: How many queues match; a nack means "not queued" only when one does, and
                a return that none can be reached. None: one, or none.
            message_id: Of the id's length; differs from it for a second copy under one id, as
                it must be unique among the messages in flight.
            headers: Further fields of the headers of a task message, encoded.
            burst: What it is one of many of, which wait for their confirms together; None: it is
                alone.

        Raises:
            Problem: At once: `broker-unavailable`, `topology-conflict`, `broker-blocked`,
                `overloaded`, `draining`, `unroutable` (queued: no). From the future: `unroutable`,
                `queue-full` (no), `unconfirmed` (unknown).
        """
        channel = self._channel
        if channel is None or self._loop is None:
            raise self._unusable()
        if self.layout.absent and message.exchange in self.layout.absent:
            raise self.layout.no_exchange(message.exchange)
        self._check(channel, len(body), burst)
        octets = task_id.encode()
        frames = message.frames(
            channel=channel.number,
            task_id=octets,
            body=body,
            frame_max=channel.frame_max,
            message_id=message_id.encode() if message_id else None,
            headers=headers,
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
                burst,
            )
        )
        outbox = self._outbox
        outbox.append(frames)
        if len(outbox) == 1:
            self._loop.call_soon(self._flush)
        elif len(outbox) == _MOST_AT_ONCE:
            self._flush()
        return future

    def has_room(self, size: int = 0) -> bool:
        """Return whether `room` would return at once."""
        return self._room.there(self._window, TENANT.get(), size)

    async def room(self, size: int = 0) -> None:
        """Wait until half of the window, or of the tenant's share of it, is free: for streams.

        Args:
            size: Octets of the message that is to fit.

        Raises:
            Problem: `broker-unavailable` (queued: no) when the connection is lost meanwhile,
                `overloaded` (no) when there is no room within the time for a confirm.
        """
        try:
            async with asyncio.timeout(self._config.confirm_timeout_s):
                await self._room.wait(self._window, TENANT.get(), size)
        except TimeoutError:
            raise _overloaded() from None

    def _unusable(self) -> Problem:
        """Why nothing can be published: RabbitMQ is away, or refuses the layout."""
        away = Problem("broker-unavailable", "no connection to RabbitMQ", queued="no")
        return self.layout.refusal() or away

    def _check(self, channel: PublishChannel, size: int, burst: Burst | None) -> None:
        if self.draining:
            raise Problem("draining", "the gateway is shutting down", queued="no")
        if channel.blocked:
            raise Problem("broker-blocked", "RabbitMQ raised an alarm", queued="no")
        window, config = self._window, self._config
        stalled = burst is not None and burst.stalled(time.monotonic(), config.confirm_timeout_s)
        if stalled or (window.silent and not self._may_probe()):
            raise Problem("broker-unavailable", "RabbitMQ has stopped confirming", queued="no")
        if (
            len(window) * 2 >= config.max_inflight_messages
            or (window.size + size) * 2 > config.max_inflight_bytes
        ) and not window.shares.admit(
            TENANT.get(), size, config.max_inflight_messages, config.max_inflight_bytes
        ):
            raise _overloaded()

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

    def on_confirm(self, delivery_tag: int, *, multiple: bool, ack: bool) -> None:
        """Basic.Ack or Basic.Nack, from the channel."""
        self._window.confirm(delivery_tag, multiple=multiple, ack=ack)
        if self._room.waiting:
            self._room.look(self._window)

    def on_return(self, message_id: str, reason: str) -> None:
        """Basic.Return, from the channel."""
        self._window.mark_returned(message_id, reason)

    def on_lost(self, reason: BaseException | None) -> None:
        """The channel closed: all in flight is unknown; the looper opens another."""
        if self._channel is None:
            return
        log.warning(
            "publish-channel-lost",
            extra={"in_flight": len(self._window), "reason": repr(reason)},
        )
        self._channel = None
        self._outbox.clear()
        self._window.lose()
        self._room.lose()
        self._lost.set()

    async def _sweep(self) -> None:
        self._note_alarm()
        now = time.monotonic()
        self._window.sweep(now, self._config.confirm_timeout_s)
        self._leave_silent(self._window.silent_since(now) - self._config.confirm_timeout_s)

    def _note_alarm(self) -> None:
        """Log when an alarm of RabbitMQ begins and ends."""
        blocked = self._channel is not None and self._channel.blocked
        if blocked and not self._alarmed:
            advice = "free disk or memory on the node: rabbitmq-diagnostics check_local_alarms"
            log.warning("publisher-blocked", extra={"advice": advice})
        elif self._alarmed and not blocked:
            log.info("publisher-unblocked")
        self._alarmed = blocked

    def _leave_silent(self, overdue_s: float) -> None:
        """Go to another host when this one has confirmed nothing of what is overdue."""
        channel, using = self._channel, self._using
        if channel is None or using is None or channel.blocked or not self._connection.others:
            return
        if overdue_s > _SILENT_FOR_S:
            self._connection.give_up(using, "RabbitMQ has stopped confirming")

    async def _keep_ready(self) -> None:
        """Declare the layout, open the channel, and return when the channel is lost.

        Raises:
            BrokerAwayError: RabbitMQ is away, or does not answer; the connection is given up.
            DeclarationError: RabbitMQ refuses the layout.
        """
        self.layout.done = False
        try:
            async with broker_calls(2 * CONNECT_TIMEOUT_S):
                connection = await self._connection.opened()
        except BrokerAwayError:
            self.layout.forget()  # that RabbitMQ is away, or not trusted, is the news
            raise
        self._lost.clear()
        try:
            async with broker_calls(_DECLARE_TIMEOUT_S):
                await self.layout.ensure(connection)
            self._window = ConfirmWindow(self._observe)
            self._using = connection
            async with broker_calls(_OPEN_TIMEOUT_S):
                self._channel = await PublishChannel.open(connection, self._transport, self)
            log.info("publisher-ready")
            self.looper.well()
            while not await self._lost_within(self._look_again_s):
                await self._complete(connection)
        except BrokerAwayError as error:
            self.layout.forget()
            self._connection.give_up(connection, error.reason)
            raise
        finally:
            self._channel = None

    @property
    def _look_again_s(self) -> float | None:
        return _AGAIN_S if self.layout.shortfall or self.layout.unsure else None

    async def _complete(self, connection: AbstractConnection) -> None:
        """Declare what the layout lacks; without an answer to that, publishing goes on.

        Raises:
            DeclarationError: RabbitMQ refuses the layout.
        """
        try:
            async with broker_calls(_DECLARE_TIMEOUT_S):
                await self.layout.complete(connection)
        except BrokerAwayError as error:
            self._incomplete.failed(error)
        else:
            self._incomplete.well()

    async def _lost_within(self, timeout_s: float | None) -> bool:
        """Wait until the channel is lost, at most so many seconds; return whether it is."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._lost.wait()
        return self._lost.is_set()


def _overloaded() -> Problem:
    return Problem("overloaded", "too many messages wait for a confirm", queued="no")
