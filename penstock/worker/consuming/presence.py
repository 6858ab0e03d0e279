"""This worker in Redis: its queues, its tasks and what it runs, alive by heartbeat."""

import dataclasses
import time
from collections.abc import Callable, Iterable
from typing import Protocol

from redis import Redis

from penstock.wire.announcements import (
    KNOWN_FOR_S,
    RUNNING_KEPT_S,
    RUNNING_PREFIX,
    WORKERS_KEY,
    RunningTask,
    SlotCounts,
    WorkerRecord,
    decode_worker,
    encode_running,
)

Queues = Callable[[], tuple[str, ...] | None]


class Work(Protocol):
    """What becomes of the slots of a worker."""

    def counts(self) -> SlotCounts:
        """Return how many there are, and how many are busy."""

    def running(self) -> list[RunningTask]:
        """Return what is in them."""


class Presence:
    """Writes the record of one worker.

    Args:
        client: Redis.
        record: the worker, its queues not known yet.
        queues: returns what it consumes at the moment; None: nothing.
        work: its slots.
        well_at: returns when its loops last went round, unix seconds.
    """

    def __init__(
        self,
        client: Redis,
        record: WorkerRecord,
        queues: Queues,
        work: Work,
        well_at: Callable[[], float],
    ) -> None:
        self._client = client
        self._work = work
        self._well_at = well_at
        self._record = record
        self._queues = queues
        self._tidy = False

    def refresh(self) -> None:
        """Write the record, and at the first time tidy up what earlier starts left.

        Raises:
            RedisError: Redis is away.
        """
        well_at = self._well_at()
        self._record = self._record.at(well_at, self._queues(), self._work.counts())
        running = encode_running(self._work.running())
        with self._client.pipeline(transaction=False) as pipe:
            pipe.hset(WORKERS_KEY, self._record.field, self._record.encode())
            pipe.set(f"{RUNNING_PREFIX}{self._record.worker}", running, ex=RUNNING_KEPT_S)
            pipe.execute()
        if not self._tidy:
            self._tidy_up(time.time())
            self._tidy = True

    def leave(self) -> None:
        """Say that it consumes nothing any more; what it has stays known for a while.

        Raises:
            RedisError: Redis is away; the record grows old by itself.
        """
        self._record = dataclasses.replace(self._record.at(time.time(), None), left=True)
        with self._client.pipeline(transaction=False) as pipe:
            pipe.hset(WORKERS_KEY, self._record.field, self._record.encode())
            pipe.delete(f"{RUNNING_PREFIX}{self._record.worker}")
            pipe.execute()

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
