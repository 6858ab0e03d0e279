"""Dead letters: looked at without using them up, published again and only then removed.

Looking gets messages and puts all of them back in front; a `.dead` queue allows a million such
returns. While somebody looks, others do not see those letters.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue, DeliveryMode
from aio_pika.exceptions import DeliveryError
from aiormq.exceptions import AMQPError, PublishError

from gateway.cancellation import told_to_stop
from gateway.errors import Problem
from gateway.rabbitmq.connection import amqp_url
from gateway.rabbitmq.letters import Letter, read_letter
from penstock.wire.names import DEAD_SUFFIX, UNROUTED_QUEUE
from topology.model import Topology

log = logging.getLogger(__name__)

UNROUTED = "unrouted"
"""Name of the letters that died in no work queue."""
DEFAULT_RATE = 500.0
"""Letters published again each second unless told otherwise."""
REPLAY_BUDGET_S = 25.0
"""Longest replay in one request; what then remains is told."""
_TIMEOUT_S = 5.0
_BACK_WITHIN_S = 1.0
_BACK_AFTER_S = 0.002
_WINDOW = 50
_WINDOW_BYTES = 16 * 1024 * 1024
_BROKER_FAULTS = (AMQPError, OSError, RuntimeError, TimeoutError, asyncio.CancelledError)


@dataclass(slots=True)
class Replay:
    """What one replay did."""

    replayed: list[str] = field(default_factory=list)
    """Ids published again and removed."""
    failed: list[dict[str, str]] = field(default_factory=list)
    """Those that stay, and why."""
    remaining: int = 0
    """Letters in the queue afterwards, the failed ones included."""
    missing: list[str] = field(default_factory=list)
    """Ids asked for that were not found."""


class DeadLetters:
    """The dead-letter queues of a topology.

    Args:
        url: RabbitMQ.
        topology: The layout.
    """

    def __init__(self, url: str, topology: Topology) -> None:
        self._url = amqp_url(url, "penstock-dead-letters")
        self._topology = topology
        self._locks: dict[str, asyncio.Lock] = {}

    def work_queue(self, queue: str) -> str:
        """Name the queue that letters died in.

        Args:
            queue: It, or the queue that keeps its dead letters; `unrouted` is none of both.

        Raises:
            Problem: `unknown-queue` (queued: no).
        """
        known = self._topology.queues
        if queue not in known:
            queue = queue.removesuffix(DEAD_SUFFIX)
        if queue == UNROUTED:
            return queue
        if queue not in known:
            raise Problem(
                "unknown-queue",
                f"the layout has no queue {queue!r}; GET /v1/queues lists them",
                queued="no",
            )
        if not known[queue].dead_letter:
            raise Problem("unknown-queue", f"queue {queue!r} keeps no dead letters", queued="no")
        return queue

    async def look(self, queue: str, limit: int) -> tuple[int, list[Letter]]:
        """The first letters of a queue, and how many there are.

        Args:
            queue: The work queue, or `unrouted`.
            limit: Letters at most.

        Raises:
            Problem: `unknown-queue`, `broker-unavailable` (queued: no).
        """
        letters: list[Letter] = []
        total = 0
        async with self._open(queue) as (channel, dead):
            while len(letters) < limit:
                message = await dead.get(fail=False, timeout=_TIMEOUT_S)
                if message is None:
                    break
                letters.append(self._read(queue, message))
                total = max(total, len(letters) + (message.message_count or 0))
            if letters:
                await self._put_back(channel, dead.name, total)
        return total, letters

    async def replay(
        self, queue: str, ids: Sequence[str] | None, rate: float = DEFAULT_RATE
    ) -> Replay:
        """Publish letters again to where they died, and remove each when that is confirmed.

        At least once: a letter whose confirm was lost stays, and may be queued too.

        Args:
            queue: The work queue, or `unrouted`.
            ids: Which; None: all that are there now.
            rate: Letters each second.

        Raises:
            Problem: `unknown-queue`, `broker-unavailable` (queued: no); `unconfirmed` (unknown)
                when RabbitMQ goes away meanwhile.
        """
        wanted = None if ids is None else set(ids)
        done = Replay()
        seen: set[str] = set()
        async with self._open(queue, done) as (channel, dead):
            left = dead.declaration_result.message_count or 0
            done.remaining = left
            deadline = time.monotonic() + REPLAY_BUDGET_S
            while left > 0 and time.monotonic() < deadline and (wanted is None or wanted - seen):
                started = time.monotonic()
                got, window = await self._window(queue, dead, min(left, _WINDOW), wanted)
                if not got:
                    break
                left -= got
                seen.update(letter.id for letter, _ in window)
                await self._publish(channel, window, done)
                pause_s = started + len(window) / rate - time.monotonic()
                await asyncio.sleep(max(0.0, min(pause_s, deadline - time.monotonic())))
            held = done.remaining - left - len(done.replayed)
            done.remaining -= len(done.replayed)
            if held:
                await self._put_back(channel, dead.name, done.remaining)
        done.missing = sorted(wanted - seen) if wanted is not None else []
        log.info(
            "dead-letters-replayed",
            extra={"queue": queue, "replayed": len(done.replayed), "failed": len(done.failed)},
        )
        return done

    async def _window(
        self, queue: str, dead: AbstractQueue, count: int, wanted: set[str] | None
    ) -> tuple[int, list[tuple[Letter, AbstractIncomingMessage]]]:
        """Get messages; those not wanted stay unacknowledged until the channel closes."""
        got = size = 0
        window = []
        while got < count and size < _WINDOW_BYTES:
            message = await dead.get(fail=False, timeout=_TIMEOUT_S)
            if message is None:
                break
            got += 1
            letter = self._read(queue, message)
            if wanted is None or letter.id in wanted:
                size += letter.size
                window.append((letter, message))
        return got, window

    async def _put_back(self, channel: AbstractChannel, name: str, ready: int) -> None:
        """Return what was got, and wait until the queue holds it again.

        Closing the channel returns it too, but RabbitMQ answers the close before a quorum queue
        has done so: who replays what they just looked at would be told that it is missing.
        """
        underlay = await channel.get_underlay_channel()
        await underlay.basic_nack(0, multiple=True, requeue=True)  # 0: all that are unacknowledged
        deadline = time.monotonic() + _BACK_WITHIN_S
        while time.monotonic() < deadline:
            queue = await channel.declare_queue(name, passive=True, timeout=_TIMEOUT_S)
            if (queue.declaration_result.message_count or 0) >= ready:
                return
            await asyncio.sleep(_BACK_AFTER_S)

    async def _publish(
        self,
        channel: AbstractChannel,
        window: list[tuple[Letter, AbstractIncomingMessage]],
        done: Replay,
    ) -> None:
        results = await asyncio.gather(
            *(
                self._publish_one(channel, letter, message, number)
                for number, (letter, message) in enumerate(window)
            )
        )
        for (letter, _), refused in zip(window, results, strict=True):
            if refused is None:
                done.replayed.append(letter.id)
            else:
                done.failed.append({"id": letter.id, "detail": refused})

    async def _publish_one(
        self,
        channel: AbstractChannel,
        letter: Letter,
        message: AbstractIncomingMessage,
        number: int,
    ) -> str | None:
        """Publish and, once confirmed, acknowledge; else why it was refused."""
        if letter.queue == UNROUTED:
            exchange_name, routing_key = letter.exchange, letter.routing_key
        else:
            exchange_name, routing_key = "", letter.queue
        again = aio_pika.Message(
            message.body,
            headers=letter.replay_headers(time.time()),
            content_type=message.content_type,
            content_encoding=message.content_encoding,
            correlation_id=message.correlation_id,
            reply_to=message.reply_to,
            priority=message.priority,
            delivery_mode=DeliveryMode.PERSISTENT,
            # aiormq tells returned messages by this: unique among those in flight.
            message_id=f"{_base(message.message_id or letter.id)}#{letter.replays + 1}.{number}",
        )
        exchange = (
            await channel.get_exchange(exchange_name, ensure=False)
            if exchange_name
            else channel.default_exchange
        )
        try:
            await exchange.publish(again, routing_key, mandatory=True, timeout=_TIMEOUT_S)
        except DeliveryError as error:
            returned = isinstance(error, PublishError)
            return "no queue is bound for it" if returned else "the queue is full"
        await message.ack()
        return None

    @asynccontextmanager
    async def _open(
        self, queue: str, done: Replay | None = None
    ) -> AsyncIterator[tuple[AbstractChannel, AbstractQueue]]:
        """A channel of its own connection, alone on this queue in this process."""
        name = self._dead_queue(queue)
        async with self._locks.setdefault(name, asyncio.Lock()):
            opened = False
            try:
                connection = await aio_pika.connect(self._url, timeout=_TIMEOUT_S)
                async with connection, connection.channel(on_return_raises=True) as channel:
                    dead = await channel.declare_queue(name, passive=True, timeout=_TIMEOUT_S)
                    opened = True
                    yield channel, dead
            except _BROKER_FAULTS as error:
                if told_to_stop():
                    raise asyncio.CancelledError from error
                if done is None or not opened:
                    raise Problem("broker-unavailable", _reason(error), queued="no") from error
                raise Problem(
                    "unconfirmed",
                    _reason(error),
                    queued="unknown",
                    members={"replayed": len(done.replayed)},
                ) from error

    def _dead_queue(self, queue: str) -> str:
        queue = self.work_queue(queue)
        return UNROUTED_QUEUE if queue == UNROUTED else self._topology.dead_queue(queue)

    def _read(self, queue: str, message: AbstractIncomingMessage) -> Letter:
        timestamp: Any = message.timestamp
        return read_letter(
            queue,
            headers=message.headers,
            routing_key=message.routing_key or "",
            message_id=message.message_id,
            timestamp=timestamp.timestamp() if isinstance(timestamp, datetime) else timestamp,
            body=message.body,
            exchanges=self._topology.exchanges,
        )


def _base(message_id: str) -> str:
    return message_id.partition("#")[0]


def _reason(error: BaseException) -> str:
    return f"RabbitMQ: {type(error).__name__}"
