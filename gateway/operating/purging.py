"""A queue is purged: each task that waits in it ends REVOKED, and only then its message is gone.

A message whose end is recorded and that comes back, as a gateway died before it was acknowledged,
never starts: the start script finds the end.
"""

import asyncio
import logging
from dataclasses import dataclass
from typing import Final

from gateway.access.task_id import claims
from gateway.endings.outcomes import Outcomes, purged, sane_id
from gateway.operating.operations import Count, LongOperation
from gateway.rabbitmq.taking import Source, Taken, Taking
from gateway.redis.faults import WrongTypeError

log = logging.getLogger(__name__)

KIND: Final = "purge"
_AT_ONCE: Final = 100
"""Messages whose ends are recorded together; each is counted with them."""


@dataclass(slots=True)
class _Window:
    """Messages that were taken together."""

    taken: list[Taken]
    last: bool
    """Whether the queue is empty, or what follows came after the purge began."""


class Purging:
    """Purges queues.

    Args:
        taking: Takes their messages.
        outcomes: Records ends.
    """

    def __init__(self, taking: Taking, outcomes: Outcomes) -> None:
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
        async with self._taking.open(queue) as source:
            return await source.count()

    async def purge(self, operation: LongOperation, count: Count) -> None:
        """End what was ready when the operation was asked for, beside workers that take of it too.

        Args:
            operation: Which, and how far.
            count: Told of each window.

        Raises:
            Problem: A server is away; what was counted is done.
        """
        left = operation.left
        async with self._taking.open(operation.subject) as source:
            last = not left
            while not last:
                window = await self._window(source, operation, min(left, _AT_ONCE))
                ends = await asyncio.gather(
                    *(self._end(one, operation.subject) for one in window.taken)
                )
                done = sum(ends)
                left -= len(ends)
                await count(done, len(ends) - done)
                last = window.last or left <= 0
        log.info("queue-purged", extra={"queue": operation.subject, "operation": operation.id})

    async def _window(self, source: Source, operation: LongOperation, most: int) -> _Window:
        taken: list[Taken] = []
        while len(taken) < most:
            one = await source.take()
            if one is None:
                return _Window(taken, last=True)
            if _issued_after(one, operation.since):
                await one.put_back()
                return _Window(taken, last=True)
            taken.append(one)
        return _Window(taken, last=False)

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
