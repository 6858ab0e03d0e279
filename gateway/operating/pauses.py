"""Paused queues: no worker of ours starts a task of them, until they are resumed."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from gateway.redis.client import RedisClient
from gateway.redis.faults import RedisAwayError
from penstock.wire.pauses import PAUSED_KEY, Pause
from topology.model import Topology

Paused = Literal["partly"] | bool
"""Whether a queue is paused; `partly`: workers that are not ours may go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PausedQueue:
    """A queue that is paused."""

    how: Paused
    why: Pause | None
    """Who paused it, and when; None: not known."""


class Pauses:
    """Pauses queues, in Redis alone: the start script of every worker reads it there.

    Args:
        redis: From `make_redis`.
        topology: The queues.
    """

    def __init__(self, redis: RedisClient, topology: Topology) -> None:
        self._redis = redis
        self._topology = topology

    def __repr__(self) -> str:
        """Name the hash."""
        return f"<Pauses {PAUSED_KEY}>"

    async def pause(self, queue: str, by: str) -> Paused:
        """Pause a queue: from the answer on no task of it starts.

        Args:
            queue: One of the layout.
            by: The name of the key that asks.

        Raises:
            RedisAwayError: As a problem: `state-unavailable`.
        """
        await self._redis.put_field(PAUSED_KEY, queue, Pause(by=by, at=time.time()).encode())
        return self._of(queue)

    async def resume(self, queue: str) -> None:
        """Let a queue go on; workers notice within a second.

        Raises:
            RedisAwayError: As a problem: `state-unavailable`.
        """
        await self._redis.delete_field(PAUSED_KEY, queue)

    async def read(self) -> Mapping[str, PausedQueue] | None:
        """Return the paused queues of the layout; None: Redis is away, and it is not known."""
        try:
            found = await self._redis.hgetall(PAUSED_KEY)
        except RedisAwayError:
            return None
        return {
            name: PausedQueue(how=self._of(name), why=Pause.decode(value))
            for key, value in found.items()
            if (name := key.decode("utf-8", "replace")) in self._topology.queues
        }

    def _of(self, queue: str) -> Paused:
        return True if self._topology.queues[queue].ours else "partly"
