"""How full the queues are, sampled each second: 429 before the broker itself refuses.

A passive declare tells the ready messages and the consumers of a queue at once, while the
management API's figures are up to 5 s old. The sampler has a connection of its own: RabbitMQ
stops reading from connections that publish while it has an alarm.
"""

import asyncio
import contextlib
from collections.abc import Iterable
from dataclasses import dataclass

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection
from aiormq.exceptions import AMQPError, ChannelNotFoundEntity

from gateway.cancellation import told_to_stop
from gateway.rabbitmq.connection import amqp_url
from penstock.looper import Looper
from penstock.wire.delay import LEVELS, level_name
from penstock.wire.names import UNROUTED_QUEUE
from topology.model import Topology

SAMPLE_INTERVAL_S = 1.0
"""How often work queues are asked."""
_OTHERS_EVERY = 10
"""Samples between two looks at dead letters and delay levels, which refuse nobody."""
_TIMEOUT_S = 5.0
_LOOK_TIMEOUT_S = 1.0
_BROKER_FAULTS = (AMQPError, OSError, RuntimeError, TimeoutError, asyncio.CancelledError)


@dataclass(frozen=True, slots=True)
class Depth:
    """One sample of one queue."""

    ready: int
    """Messages that no worker has yet."""
    consumers: int


class QueueDepths:
    """The last sample of each queue.

    Args:
        url: RabbitMQ.
        topology: The queues and their limits.
    """

    def __init__(self, url: str, topology: Topology) -> None:
        self._url = amqp_url(url, "penstock-queue-depths")
        self._topology = topology
        self.full_queues: frozenset[str] = frozenset()
        """Those that were at their limit a second ago."""
        self._connection: AbstractConnection | None = None
        self._channel: AbstractChannel | None = None
        self._samples = 0
        self._asking = asyncio.Lock()
        self.depths: dict[str, Depth] = {}
        """Work queues, their dead letters, delay levels; empty while RabbitMQ is away."""
        self.looper = Looper(
            "queue-depths",
            self._turn,
            interval_s=SAMPLE_INTERVAL_S,
            deadline_s=3 * _TIMEOUT_S,
            expected=_BROKER_FAULTS,
            at_end=self._forget,
        )
        """Samples."""

    def __repr__(self) -> str:
        """How many are known and which are full."""
        return f"<QueueDepths {len(self.depths)} queues, full: {sorted(self.full_queues)}>"

    def full(self, queue: str) -> bool:
        """Whether the queue was at its limit a second ago."""
        return queue in self.full_queues

    async def sample(self) -> None:
        """Ask once; every tenth time also the queues that nobody is refused for.

        Raises:
            AMQPError, OSError, RuntimeError, TimeoutError: RabbitMQ is away.
        """
        async with asyncio.timeout(_TIMEOUT_S):
            there = await self._look_at(self._topology.queues)
            if not there:
                self._samples = 0  # not declared yet: the others neither
            elif self._samples % _OTHERS_EVERY == 0:
                await self._look_at(self._others())
        self._samples += there
        self.full_queues = frozenset(
            name
            for name, queue in self._topology.queues.items()
            if name in self.depths and self.depths[name].ready >= queue.limit
        )

    async def look(self, queues: Iterable[str]) -> None:
        """Ask about some queues at once; one that gives no answer is not known afterwards."""
        queues = list(queues)
        try:
            async with asyncio.timeout(_LOOK_TIMEOUT_S):
                await self._look_at(queues)
        except _BROKER_FAULTS as error:
            if told_to_stop():
                raise asyncio.CancelledError from error
            for name in queues:
                self.depths.pop(name, None)

    async def _turn(self) -> None:
        try:
            await self.sample()
        except BaseException:
            await self._forget()
            raise

    def _others(self) -> list[str]:
        dead = [
            self._topology.dead_queue(name)
            for name, queue in self._topology.queues.items()
            if queue.dead_letter
        ]
        return [*dead, UNROUTED_QUEUE, *(level_name(level) for level in range(LEVELS))]

    async def _look_at(self, names: Iterable[str]) -> bool:
        """Sample each; whether all of them exist."""
        missing = False
        for name in names:
            async with self._asking:  # a refusal closes the channel that both would use
                depth = await self._ask(name)
            if depth is None:
                self.depths.pop(name, None)
                missing = True
            else:
                self.depths[name] = depth
        return not missing

    async def _ask(self, name: str) -> Depth | None:
        """Passive declare; None when there is no such queue."""
        channel = self._channel
        if channel is None or channel.is_closed:
            channel = self._channel = await self._open()
        try:
            queue = await channel.declare_queue(name, passive=True)
        except ChannelNotFoundEntity:  # it closes the channel: AMQP 0-9-1, queue.declare
            self._channel = None
            return None
        result = queue.declaration_result
        return Depth(result.message_count or 0, result.consumer_count or 0)

    async def _open(self) -> AbstractChannel:
        if self._connection is None or self._connection.is_closed:
            self._connection = await aio_pika.connect(self._url, timeout=_TIMEOUT_S)
        return await self._connection.channel(publisher_confirms=False)

    async def _forget(self) -> None:
        """Nothing is known any more; nobody is refused by an old figure."""
        connection, self._connection, self._channel = self._connection, None, None
        self.full_queues = frozenset()
        self._samples = 0
        self.depths = {}
        if connection is not None:
            with contextlib.suppress(*_BROKER_FAULTS):
                await asyncio.wait_for(connection.close(), _TIMEOUT_S)


def queue_full(queue: str, limit: int) -> str:
    """Say that a queue is full.

    Args:
        queue: Its name.
        limit: Of the layout, messages.
    """
    return f"queue {queue!r} is at its limit of {limit:,} messages: its workers are behind or away"
