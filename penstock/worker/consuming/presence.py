"""This worker in Redis: which queues it consumes and which tasks it has, alive by heartbeat."""

import time
from collections.abc import Callable, Iterable

from redis import Redis

from penstock.wire.announcements import (
    KNOWN_FOR_S,
    WORKERS_KEY,
    SlotCounts,
    WorkerRecord,
    decode_worker,
)

Queues = Callable[[], tuple[str, ...] | None]


class Presence:
    """Writes the record of one worker.

    Args:
        client: Redis.
        record: the worker, its queues not known yet.
        queues: returns what it consumes at the moment; None: nothing.
        counts: returns what becomes of its slots.
    """

    def __init__(
        self, client: Redis, record: WorkerRecord, queues: Queues, counts: Callable[[], SlotCounts]
    ) -> None:
        self._client = client
        self._counts = counts
        self._record = record
        self._queues = queues
        self._tidy = False

    def refresh(self) -> None:
        """Write the record, and at the first time tidy up what earlier starts left.

        Raises:
            RedisError: Redis is away.
        """
        now = time.time()
        self._record = self._record.at(now, self._queues(), self._counts())
        self._client.hset(WORKERS_KEY, self._record.field, self._record.encode())
        if not self._tidy:
            self._tidy_up(now)
            self._tidy = True

    def leave(self) -> None:
        """Say that it consumes nothing any more; what it has stays known for a while.

        Raises:
            RedisError: Redis is away; the record grows old by itself.
        """
        self._record = self._record.at(time.time(), None)
        self._client.hset(WORKERS_KEY, self._record.field, self._record.encode())

    def _tidy_up(self, now: float) -> None:
        """Remove records that say nothing any more, and end those of this node name.

        A node name is one worker's: an earlier start of it is over, however it ended.
        """
        found = self._client.hgetall(WORKERS_KEY)
        for field, value in _others(found, self._record.field):
            try:
                other = decode_worker(value)
            except ValueError:
                self._client.hdel(WORKERS_KEY, field)
                continue
            same = (other.worker, other.queues, other.tasks) == (
                self._record.worker,
                self._record.queues,
                self._record.tasks,
            )
            if same or now - other.seen > KNOWN_FOR_S:
                self._client.hdel(WORKERS_KEY, field)
            elif other.worker == self._record.worker and other.consuming:
                self._client.hset(WORKERS_KEY, field, other.at(other.seen, None).encode())


def _others(
    found: dict[bytes | str, bytes | str], own: str
) -> Iterable[tuple[bytes | str, bytes | str]]:
    return [(field, value) for field, value in found.items() if field not in (own, own.encode())]
