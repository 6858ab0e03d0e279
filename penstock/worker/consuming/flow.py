"""What this worker takes from each queue and starts, counted here and added up in Redis.

Gateways work out from it how fast a queue moves, and how old its oldest message is.
"""

from collections import Counter

from redis import Redis
from redis.exceptions import RedisError

from penstock.looper import ThreadLooper
from penstock.wire.flow import FLOW_KEY, FLUSH_S, fields_of

taken: Counter[str | None] = Counter()
"""Messages by queue, each once: one that comes again is in the count already."""
started: Counter[str | None] = Counter()
"""Tasks by queue. A worker is a process; threads of a pool count here, and may lose one in a race,
of which no decision depends."""


class FlowCounts:
    """Adds the counts to those in Redis, in a thread of the worker's main process.

    Args:
        client: Redis.
    """

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._added: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
        self._looper = ThreadLooper(
            "flow", self.flush, interval_s=FLUSH_S, expected=(RedisError,), at_end=self.flush
        )

    def __repr__(self) -> str:
        """Show what was added."""
        return f"<FlowCounts {self._added}>"

    def begin(self) -> None:
        """Begin to add, once."""
        if not self._looper.alive:
            self._looper.start()

    def flush(self) -> None:
        """Add what has been counted since the last time.

        Raises:
            RedisError: Redis is away; it is added the next time, or twice where only the answer
                was lost.
        """
        now = tuple(
            Counter({queue: count for queue, count in list(one.items()) if queue is not None})
            for one in (taken, started)
        )
        more = [
            {queue: count - before[queue] for queue, count in one.items()}
            for one, before in zip(now, self._added, strict=True)
        ]
        fields = fields_of(*more)
        if fields:
            with self._client.pipeline(transaction=False) as pipe:
                for field, count in fields.items():
                    pipe.hincrby(FLOW_KEY, field, count)
                pipe.execute()
        self._added = (now[0], now[1])
