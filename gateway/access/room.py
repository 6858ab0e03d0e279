"""Whether there is room for more work: in the queues, and for results in Redis."""

from collections.abc import Iterable

from gateway.access.kept_results import KeptResults
from gateway.errors import Problem
from gateway.rabbitmq.queue_depths import QueueDepths, queue_full
from topology.model import Topology


class Room:
    """Refuses early what would be refused later, or could not be kept.

    Args:
        topology: The limits of queues.
        depths: Knows which queues are full.
        kept: Knows which tenants keep too many results.
    """

    def __init__(self, topology: Topology, depths: QueueDepths, kept: KeptResults) -> None:
        self._topology = topology
        self._depths = depths
        self.check_results = kept.check
        """Refuse work whose result would be kept, while the tenant keeps too many."""

    def check(self, queues: Iterable[str]) -> None:
        """Let a message through unless one of its queues is full, or cannot be reached.

        Raises:
            Problem: `queue-full`, `broker-unavailable` (queued: no).
        """
        full, away = self._depths.full_queues, self._depths.away_queues
        if not (full or away):
            return
        for queue in queues:
            if queue in away:
                detail = f"the node of queue {queue!r} is down: it takes messages once it is back"
                raise Problem("broker-unavailable", detail, queued="no")
            if queue in full:
                limit = self._topology.queues[queue].limit
                raise Problem("queue-full", queue_full(queue, limit), queued="no")
