"""Dead letters: looked at without using them up, published again and only then removed.

Looking gets messages and puts all of them back in front; a `.dead` queue allows a million such
returns. During a look, other consumers do not see those letters.

A letter is published again as every message is, by the publisher, on its connection; its
acknowledgement, which removes it here, follows the confirm.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final

from aiormq.abc import AbstractChannel, DeliveredMessage

from gateway.errors import Problem
from gateway.rabbitmq.connection import Connection
from gateway.rabbitmq.faults import BrokerAwayError, MissingEntityError, broker_calls
from gateway.rabbitmq.letters import UNROUTED, Letter, read_letter
from gateway.rabbitmq.publisher import Publisher
from gateway.rabbitmq.replays import Replay, counted, publish_again
from gateway.rabbitmq.settling import ACKS_IN_A_ROW
from penstock.wire.names import DEAD_SUFFIX, GATE_QUEUE, UNROUTED_QUEUE
from topology.model import Topology

log = logging.getLogger(__name__)

DEFAULT_RATE: Final = 500.0
"""Letters published again each second unless the request says otherwise."""
REPLAY_BUDGET_S: Final = 25.0
"""Longest replay in one request; the answer says what remains."""
_TIMEOUT_S: Final = 5.0
_BACK_WITHIN_S: Final = 1.0
_BACK_AFTER_S: Final = 0.002
_WINDOW_BYTES: Final = 16 * 1024 * 1024
_SHOWN_BYTES: Final = 8 * 1024 * 1024
"""Octets of all bodies that one look shows; those beyond are left out."""


class DeadLetters:
    """The dead-letter queues of a topology.

    Args:
        connection: Gets letters and removes them.
        publisher: Publishes them again.
        topology: The layout.
    """

    def __init__(self, connection: Connection, publisher: Publisher, topology: Topology) -> None:
        self._connection = connection
        self._publisher = publisher
        self._topology = topology
        self._own_exchanges = topology.own_exchanges
        self._locks: dict[str, asyncio.Lock] = {}

    def work_queue(self, queue: str) -> str:
        """Name the queue that letters died in.

        Args:
            queue: It, or the queue that keeps its dead letters, or the gate; `unrouted` is none.

        Raises:
            Problem: `unknown-queue` (queued: no).
        """
        known = self._topology.queues
        if queue not in known:
            queue = queue.removesuffix(DEAD_SUFFIX)
        if queue == UNROUTED or (queue == GATE_QUEUE and self._topology.has_app):
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
        """Return how many letters a queue has, and the first of them, with bodies of 8 MiB at most.

        Args:
            queue: The work queue, or `unrouted`.
            limit: Letters at most.

        Raises:
            Problem: `unknown-queue`, `broker-unavailable` (queued: no).
        """
        letters: list[Letter] = []
        total, room = 0, _SHOWN_BYTES
        async with self._open(queue) as (channel, dead):
            while len(letters) < limit and (message := await _get(channel, dead)) is not None:
                letter = self._read(queue, message, room)
                room -= len(letter.shown or b"")
                letters.append(letter)
                total = max(total, len(letters) + (message.message_count or 0))
            if letters:
                await self._put_back(channel, dead, total)
        return total, letters

    async def replay(
        self,
        queue: str,
        ids: Sequence[str] | None,
        rate: float = DEFAULT_RATE,
        at_most: int | None = None,
    ) -> Replay:
        """Publish letters again to where they died, and remove each when that is confirmed.

        At least once: a letter whose confirm was lost stays, and may be queued too.

        Args:
            queue: The work queue, or `unrouted`.
            ids: Which; None: all that are there now.
            rate: Letters each second.
            at_most: Look at so many letters, the first of the queue; None: at all of them.

        Raises:
            Problem: `unknown-queue`, `broker-unavailable`, or as the publisher refuses the first
                letters (queued: no); `unconfirmed` (unknown) when that happens later.
        """
        wanted = None if ids is None else set(ids)
        done = Replay()
        seen: set[str] = set()
        async with self._open(queue) as (channel, dead), counted(done):
            done.remaining = await _count(channel, dead)
            asked = left = _least(done.remaining, at_most)
            deadline = time.monotonic() + REPLAY_BUDGET_S
            while left > 0 and time.monotonic() < deadline and (wanted is None or wanted - seen):
                started = time.monotonic()
                got, window = await self._window(queue, channel, min(left, ACKS_IN_A_ROW), wanted)
                if not got:
                    break
                left -= got
                seen.update(letter.id for letter, _ in window)
                await publish_again(self._publisher, self._topology, window, done)
                pause_s = started + len(window) / rate - time.monotonic()
                await asyncio.sleep(max(0.0, min(pause_s, deadline - time.monotonic())))
            held = asked - left - len(done.replayed)
            done.remaining -= len(done.replayed)
            if held:
                await self._put_back(channel, dead, done.remaining)
        done.missing = sorted(wanted - seen) if wanted is not None else []
        log.info(
            "dead-letters-replayed",
            extra={"queue": queue, "replayed": len(done.replayed), "failed": len(done.failed)},
        )
        return done

    async def discard(
        self, queue: str, ids: Sequence[str] | None, at_most: int | None = None
    ) -> Replay:
        """Remove letters for good; their tasks ended when they died.

        Args:
            queue: The work queue, or `unrouted`.
            ids: Which; None: all that are there now.
            at_most: Look at so many letters, the first of the queue; None: at all of them.

        Raises:
            Problem: `unknown-queue`, `broker-unavailable` (queued: no).
        """
        wanted = None if ids is None else set(ids)
        done = Replay()
        seen: set[str] = set()
        async with self._open(queue) as (channel, dead):
            done.remaining = await _count(channel, dead)
            asked = left = _least(done.remaining, at_most)
            deadline = time.monotonic() + REPLAY_BUDGET_S
            while left > 0 and time.monotonic() < deadline and (wanted is None or wanted - seen):
                got, window = await self._window(queue, channel, min(left, ACKS_IN_A_ROW), wanted)
                if not got:
                    break
                left -= got
                for letter, message in window:
                    async with broker_calls(_TIMEOUT_S, queued="no"):
                        await channel.basic_ack(message.delivery_tag or 0)
                    seen.add(letter.id)
                    done.replayed.append(letter.id)
            held = asked - left - len(done.replayed)
            done.remaining -= len(done.replayed)
            if held:
                await self._put_back(channel, dead, done.remaining)
        done.missing = sorted(wanted - seen) if wanted is not None else []
        log.info("dead-letters-discarded", extra={"queue": queue, "discarded": len(done.replayed)})
        return done

    async def _window(
        self, queue: str, channel: AbstractChannel, count: int, wanted: set[str] | None
    ) -> tuple[int, list[tuple[Letter, DeliveredMessage]]]:
        """Get messages; those not wanted stay unacknowledged until they are put back."""
        got = size = 0
        window = []
        dead = self._dead_queue(queue)
        while got < count and size < _WINDOW_BYTES:
            message = await _get(channel, dead)
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
        has done so: a replay of what was just looked at would find it missing.
        """
        async with broker_calls(_TIMEOUT_S, queued="no"):
            await channel.basic_nack(0, multiple=True, requeue=True)  # 0: all unacknowledged
        deadline = time.monotonic() + _BACK_WITHIN_S
        while time.monotonic() < deadline:
            if await _count(channel, name) >= ready:
                return
            await asyncio.sleep(_BACK_AFTER_S)

    @asynccontextmanager
    async def _open(self, queue: str) -> AsyncIterator[tuple[AbstractChannel, str]]:
        """Lend a channel, alone on this queue in this process, and the name of the dead letters'.

        Raises:
            Problem: `broker-unavailable` (queued: no).
        """
        dead = self._dead_queue(queue)
        async with self._locks.setdefault(dead, asyncio.Lock()):
            try:
                async with self._connection.channel(queued="no") as channel:
                    yield channel, dead
            except MissingEntityError as error:
                raise BrokerAwayError(f"not declared: {error}", queued="no") from error

    def _dead_queue(self, queue: str) -> str:
        queue = self.work_queue(queue)
        return UNROUTED_QUEUE if queue == UNROUTED else self._topology.dead_queue(queue)

    def _read(self, queue: str, message: DeliveredMessage, room: int = 0) -> Letter:
        properties = message.header.properties
        timestamp: Any = properties.timestamp
        return read_letter(
            queue,
            headers=properties.headers or {},
            routing_key=message.routing_key or "",
            message_id=properties.message_id,
            timestamp=timestamp.timestamp() if isinstance(timestamp, datetime) else timestamp,
            body=message.body,
            exchanges=self._own_exchanges,
            shards=self._topology.shards(queue),
            room=room,
        )


async def _get(channel: AbstractChannel, queue: str) -> DeliveredMessage | None:
    """Return the next message of a queue; None when it is empty."""
    async with broker_calls(_TIMEOUT_S, queued="no"):
        message = await channel.basic_get(queue)
    return message if message.delivery_tag is not None else None


async def _count(channel: AbstractChannel, queue: str) -> int:
    """Return how many messages are ready in a queue."""
    async with broker_calls(_TIMEOUT_S, queued="no"):
        return (await channel.queue_declare(queue, passive=True)).message_count or 0


def _least(count: int, at_most: int | None) -> int:
    return count if at_most is None else min(count, at_most)
