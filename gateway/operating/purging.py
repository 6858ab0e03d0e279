"""A queue is purged: each task that waits in it ends REVOKED, and only then its message is gone.

A message whose end is recorded and that comes back, as a gateway died before it was acknowledged,
never starts: the start script finds the end.

In a queue with priorities what came later may stand in front. It is held until the purge has ended,
and is in its place again when the channel closes.
"""

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import Final

from gateway.access.task_id import claims
from gateway.endings.outcomes import Outcomes, purged, sane_id
from gateway.operating.operations import SLICE_S, Count, LongOperation
from gateway.rabbitmq.settling import ACKS_IN_A_ROW
from gateway.rabbitmq.taking import Source, Taken, Taking
from gateway.redis.faults import WrongTypeError
from gateway.submitting.priorities import honours
from topology.model import Topology

log = logging.getLogger(__name__)

PURGE: Final = "purge"
MOST_HELD: Final = 5_000
"""Messages that stand in front and came later; of what is behind more of them nothing is purged."""
_HELD_AT_ONCE: Final = 500
"""Between two renewals of the operation's lease."""
_LANES: Final = 4
"""Channels that take from a queue without priorities at once: RabbitMQ answers each after a round
trip, and a quorum queue after a write to its log."""


@dataclass(slots=True)
class _Window:
    """Messages that were taken together."""

    taken: list[Taken]
    last: bool
    """Whether the queue is empty, or what follows came after the purge began."""
    held: int = 0
    """How many came after the purge began, and are kept from those behind them."""


@dataclass(slots=True)
class _Slice:
    """What the lanes of a slice share."""

    operation: LongOperation
    count: Count
    until: float
    """When it is over, monotonic seconds."""
    left: int
    """Messages of the operation that no lane has taken."""

    def reserve(self) -> int:
        """Return how many messages a lane may take now; 0: none are left."""
        most = max(0, min(self.left, ACKS_IN_A_ROW))
        self.left -= most
        return most


class Purging:
    """Purges queues.

    Args:
        topology: Their shards.
        taking: Takes their messages.
        outcomes: Records ends.
    """

    def __init__(self, topology: Topology, taking: Taking, outcomes: Outcomes) -> None:
        self._topology = topology
        self._taking = taking
        self._outcomes = outcomes
        self.slice_s = SLICE_S
        """How long it purges at a time; other operations are done between."""

    def __repr__(self) -> str:
        """Say what it takes from."""
        return f"<Purging {self._taking!r}>"

    async def count(self, queue: str) -> int:
        """Return how many messages are ready.

        Raises:
            BrokerAwayError: As a problem: `broker-unavailable`.
        """
        found = 0
        for shard in self._topology.shards(queue):
            async with self._taking.open(shard) as source:
                found += await source.count()
        return found

    async def purge(self, operation: LongOperation, count: Count) -> bool:
        """End what was ready when the operation was asked for, beside workers that take of it too.

        Return that nothing is left of it; False once a slice's time is over. While messages are
        held there is no end of a slice: with its channel they would be in front again.

        Args:
            operation: Which, and how far.
            count: Told of each window.

        Raises:
            Problem: A server is away; what was counted is done.
        """
        slice_ = _Slice(operation, count, time.monotonic() + self.slice_s, operation.left)
        ranks = self._ranks(operation.subject)
        for shard in self._topology.shards(operation.subject):
            lanes = [self._lane(shard, slice_, ranks=ranks) for _ in range(1 if ranks else _LANES)]
            # Each is waited for: none may go on beside the next slice.
            ends = await asyncio.gather(*lanes, return_exceptions=True)
            for end in ends:
                if isinstance(end, BaseException):
                    raise end
            if not all(ends):
                return False
        log.info("queue-purged", extra={"queue": operation.subject, "operation": operation.id})
        return True

    async def _lane(self, shard: str, slice_: _Slice, *, ranks: bool) -> bool:
        """Take messages on a channel, each behind the answer to the last; return as `purge`."""
        may_hold, held = MOST_HELD if ranks else 0, 0
        async with self._taking.open(shard) as source:
            while most := slice_.reserve():
                window = await self._window(source, slice_.operation, most, may_hold - held)
                held += window.held
                queue = slice_.operation.subject
                ends = await asyncio.gather(*(self._end(one, queue) for one in window.taken))
                slice_.left += most - len(ends)
                done = sum(ends)
                await slice_.count(done, len(ends) - done)
                if window.last:
                    return True
                if not held and time.monotonic() >= slice_.until:
                    return False
        return True

    def _ranks(self, queue: str) -> bool:
        """Return whether a message may overtake another in a queue."""
        return honours(self._topology.queues[queue], self._taking.rabbitmq_major)

    async def _window(
        self, source: Source, operation: LongOperation, most: int, may_hold: int
    ) -> _Window:
        taken: list[Taken] = []
        held = 0
        while len(taken) < most and held < _HELD_AT_ONCE:
            one = await source.take()
            if one is None:
                return _Window(taken, last=True, held=held)
            if not _issued_after(one, operation.since):
                taken.append(one)
            elif held < may_hold:
                held += 1  # not acknowledged
            else:
                await one.put_back()
                return _Window(taken, last=True, held=held)
        return _Window(taken, last=False, held=held)

    async def _end(self, one: Taken, queue: str) -> bool:
        """End the task of a message, and remove it; False: it stays."""
        end = purged(one.message.headers, queue)
        if end is not None:
            try:
                await self._outcomes.finish(end, one.message)
            except WrongTypeError as error:
                log.warning("not-purged", extra={"queue": queue, "reason": str(error)})
                return False
        await one.remove()
        return True


def _issued_after(one: Taken, moment: float) -> bool:
    """Return whether a task was submitted after a moment; of ids of others nothing is known."""
    task_id = sane_id(one.message.headers)
    issued = claims(task_id) if task_id is not None else None
    return issued is not None and issued.issued_at > moment
