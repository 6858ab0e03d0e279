"""A queue is purged: each task that waits in it ends REVOKED, and only then its message is gone.

A message whose end is recorded and that comes back, as a gateway died before it was acknowledged,
never starts: the start script finds the end.

In a queue with priorities what came later may stand in front. It is held until the purge has ended,
and is in its place again when the channel closes.
"""

import asyncio
import logging
from dataclasses import dataclass
from typing import Final

from gateway.access.task_id import claims
from gateway.endings.outcomes import Outcomes, purged, sane_id
from gateway.operating.operations import Count, LongOperation
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


@dataclass(slots=True)
class _Window:
    """Messages that were taken together."""

    taken: list[Taken]
    last: bool
    """Whether the queue is empty, or what follows came after the purge began."""
    held: int = 0
    """How many came after the purge began, and are kept from those behind them."""


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

        Return that nothing is left of it.

        Args:
            operation: Which, and how far.
            count: Told of each window.

        Raises:
            Problem: A server is away; what was counted is done.
        """
        left = operation.left
        for shard in self._topology.shards(operation.subject):
            async with self._taking.open(shard) as source:
                last = left <= 0
                may_hold = MOST_HELD if self._ranks(operation.subject) else 0
                while not last:
                    most = min(left, ACKS_IN_A_ROW)
                    window = await self._window(source, operation, most, may_hold)
                    may_hold -= window.held
                    ends = await asyncio.gather(
                        *(self._end(one, operation.subject) for one in window.taken)
                    )
                    done = sum(ends)
                    left -= len(ends)
                    await count(done, len(ends) - done)
                    last = window.last or left <= 0
        log.info("queue-purged", extra={"queue": operation.subject, "operation": operation.id})
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
