"""How full the queues are, sampled each second: 429 before the broker itself refuses.

A passive declare answers with the ready messages and the consumers of a queue at once, while the
management API's figures are up to 5 s old.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from aiormq.abc import AbstractChannel

from gateway.rabbitmq.connection import Connection
from gateway.rabbitmq.faults import BrokerAwayError, MissingEntityError, broker_calls
from penstock.looper import Looper
from penstock.wire.delay import LEVELS, level_name
from penstock.wire.names import UNROUTED_QUEUE
from penstock.wire.refusals import is_away
from topology.model import Topology

SAMPLE_INTERVAL_S: Final = 1.0
"""How often work queues are asked."""
_OTHERS_EVERY: Final = 10
"""Samples between two looks at dead letters and delay levels, which refuse nothing."""
_SAMPLE_TIMEOUT_S: Final = 5.0
_LOOK_TIMEOUT_S: Final = 0.6
"""With the 5 s of a confirm that does not come: the answer of a submit is due within 6 s."""
_ONE_NODE_WITHIN_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Depth:
    """One sample of one queue."""

    ready: int
    """Messages that no worker has yet."""
    consumers: int
    """Of a queue with shards: of that with the most, as a worker consumes them all."""
    least_consumers: int
    """Of a queue with shards: of that with the fewest."""


class QueueDepths:
    """The last sample of each queue.

    Args:
        connection: Asks.
        topology: The queues and their limits.
    """

    def __init__(self, connection: Connection, topology: Topology) -> None:
        self._connection = connection
        self._topology = topology
        self._channel: AbstractChannel | None = None
        self._asking = asyncio.Lock()
        """A refusal ends the channel that all questions take."""
        self.full_queues: frozenset[str] = frozenset()
        """Those that were at their limit a second ago."""
        self.away_queues: frozenset[str] = frozenset()
        """Those whose node was down a second ago, or did not answer; with shards: every one's."""
        self._samples = 0
        self._sampled = asyncio.Event()
        self.depths: dict[str, Depth] = {}
        """Work queues, their dead letters, delay levels; empty while RabbitMQ is away."""
        self.looper = Looper(
            "queue-depths",
            self._turn,
            interval_s=SAMPLE_INTERVAL_S,
            deadline_s=3 * _SAMPLE_TIMEOUT_S,
            expected=(BrokerAwayError,),
        )
        """Samples."""

    def __repr__(self) -> str:
        """Say how many are known and which are full."""
        return f"<QueueDepths {len(self.depths)} queues, full: {sorted(self.full_queues)}>"

    def full(self, queue: str) -> bool:
        """Return whether the queue was at its limit a second ago."""
        return queue in self.full_queues

    async def sample(self) -> None:
        """Ask once; every tenth time also the queues that refuse nothing.

        Raises:
            BrokerAwayError: RabbitMQ does not answer.
        """
        async with broker_calls(_SAMPLE_TIMEOUT_S):
            queues = self._topology.queues
            there = await self._look_at(name for name, queue in queues.items() if queue.ours)
            await self._look_at(name for name, queue in queues.items() if not queue.ours)
            if not there:
                self._samples = 0  # not declared yet: the others neither
            elif self._samples % _OTHERS_EVERY == 0:
                await self._look_at(self._others())
        self._samples += there
        self._sampled.set()
        self.full_queues = frozenset(
            name
            for name, queue in self._topology.queues.items()
            if name in self.depths and self.depths[name].ready >= queue.limit
        )

    async def next_sample(self) -> None:
        """Wait for the end of the next sample."""
        self._sampled.clear()
        await self._sampled.wait()

    async def look(self, queues: Iterable[str]) -> None:
        """Ask about some queues at once; one that gives no answer is not known afterwards."""
        queues = list(queues)
        try:
            async with broker_calls(_LOOK_TIMEOUT_S):
                await self._look_at(queues)
        except BrokerAwayError:
            for name in queues:
                self.depths.pop(name, None)

    async def _turn(self) -> None:
        try:
            await self.sample()
        except BaseException:
            # Nothing is known any more; an old figure refuses nothing.
            self.full_queues = self.away_queues = frozenset()
            self._samples = 0
            self.depths = {}
            raise

    def _others(self) -> list[str]:
        dead = [
            self._topology.dead_queue(name)
            for name, queue in self._topology.queues.items()
            if queue.dead_letter
        ]
        return [*dead, UNROUTED_QUEUE, *(level_name(level) for level in range(LEVELS))]

    async def are_away(self, queues: Iterable[str]) -> list[str]:
        """Ask at once which of some queues cannot be reached; those that do not exist neither.

        Raises:
            BrokerAwayError: RabbitMQ does not answer.
        """
        away = []
        for name in (shard for queue in queues for shard in self._topology.shards(queue)):
            async with self._asking:
                try:
                    async with asyncio.timeout(_ONE_NODE_WITHIN_S):
                        await self._ask(name)
                except (MissingEntityError, TimeoutError):
                    away.append(name)
        return away

    async def _look_at(self, names: Iterable[str]) -> bool:
        """Sample each; return whether all of them exist."""
        missing = False
        for name in names:
            found, away = [], False
            for shard in self._topology.shards(name):
                async with self._asking:
                    try:
                        async with self._within(name):
                            found.append(await self._ask(shard))
                    except (MissingEntityError, TimeoutError) as error:
                        # A refusal ended the channel: AMQP 0-9-1, queue.declare.
                        is_there = isinstance(error, TimeoutError) or is_away(str(error))
                        away, missing = away or is_there, missing or not is_there
            if found:
                self.depths[name] = _added(found)
                self.away_queues -= {name}
            else:
                self.depths.pop(name, None)
                self.away_queues |= {name} if away else set()
        return not missing

    @contextlib.asynccontextmanager
    async def _within(self, name: str) -> AsyncIterator[None]:
        """Bound the answer of a queue that lives on one node: another's must not wait for it.

        Raises:
            TimeoutError: it does not answer.
        """
        queue = self._topology.queues.get(name)
        one_node = queue is not None and queue.type == "classic"
        async with asyncio.timeout(_ONE_NODE_WITHIN_S if one_node else None):
            yield

    async def _ask(self, name: str) -> Depth:
        """Ask on a channel that is kept: submits of unknown tasks look, one after the other.

        Raises:
            MissingEntityError: There is no such queue.
        """
        if self._channel is None or self._channel.is_closed:
            self._channel = await self._connection.own_channel()
        async with broker_calls(None):
            queue = await self._channel.queue_declare(name, passive=True)
        consumers = queue.consumer_count or 0
        return Depth(queue.message_count or 0, consumers, consumers)


def _added(shards: Sequence[Depth]) -> Depth:
    """Add up the shards of a queue that answer."""
    return Depth(
        sum(one.ready for one in shards),
        max(one.consumers for one in shards),
        min(one.least_consumers for one in shards),
    )


def queue_full(queue: str, limit: int) -> str:
    """Return the sentence that says that a queue is full.

    Args:
        queue: Its name.
        limit: Of the layout, messages.
    """
    return f"queue {queue!r} is at its limit of {limit:,} messages: its workers are behind or away"
