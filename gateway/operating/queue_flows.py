"""How every queue moves, looked at each second: depths of RabbitMQ, counts of the workers."""

import time
from collections.abc import Callable, Mapping

from gateway.operating.queue_flow import QueueFlow
from gateway.operating.queue_past import QueuePast
from gateway.rabbitmq.queue_depths import QueueDepths
from gateway.redis.client import RedisClient
from gateway.redis.faults import RedisAwayError
from penstock.looper import Looper
from penstock.wire.flow import FLOW_KEY, Flow, decode_flow


class QueueFlows:
    """The flow of each queue.

    Args:
        redis: Where workers count.
        depths: Of the queues; sampled each second.
        consumers: Returns how many consumers of each queue are workers that count.
    """

    def __init__(
        self,
        redis: RedisClient,
        depths: QueueDepths,
        consumers: Callable[[], Mapping[str, int]],
    ) -> None:
        self._redis = redis
        self._depths = depths
        self._consumers = consumers
        self._flows: dict[str, QueueFlow] = {}
        self._pasts: dict[str, QueuePast] = {}
        self._ours: dict[str, int] = {}
        """Consumers of each queue when workers that count were among them."""
        self.looper = Looper(
            "queue-flows",
            self._look,
            interval_s=0.0,
            expected=(RedisAwayError,),
        )
        """Looks."""

    def __repr__(self) -> str:
        """Return how many queues are looked at."""
        return f"<QueueFlows {len(self._flows)} queues>"

    def of(self, queue: str) -> QueueFlow | None:
        """Return the flow of a queue; None where it is not known.

        Of a queue that other workers consume as well only they know what they took.
        """
        depth, flow = self._depths.depths.get(queue), self._flows.get(queue)
        if depth is None or flow is None:
            return None
        # Each process of ours that consumes has one consumer, the asyncio pool several. RabbitMQ
        # counts on one that was cancelled, as the queue is paused, while it holds messages.
        ours = self._consumers().get(queue) or depth.consumers <= self._ours.get(queue, 0)
        return flow if ours else None

    def past(self, queue: str) -> QueuePast | None:
        """Return the last hour of a queue; None where its flow is not known."""
        return self._pasts.get(queue) if self.of(queue) is not None else None

    async def _look(self) -> None:
        """Look at each queue, as soon as its depth was sampled.

        Raises:
            RedisAwayError: Workers count on, and nothing is forgotten.
        """
        await self._depths.next_sample()
        counts = decode_flow(await self._redis.hgetall(FLOW_KEY))
        now = time.monotonic()
        nothing, announced = Flow(), self._consumers()
        for queue, depth in list(self._depths.depths.items()):
            if announced.get(queue) or not depth.consumers:
                self._ours[queue] = depth.consumers
            flow = self._flows.setdefault(queue, QueueFlow())
            count = counts.get(queue, nothing)
            flow.observe(now, depth.ready, count.taken, count.started)
            past = self._pasts.setdefault(queue, QueuePast())
            past.observe(time.time(), depth.ready, count.taken)
