"""The bound on what tasks take: beyond it the oldest are deleted, in small steps."""

import asyncio
import logging

from history.database import Database
from history.writing.lease import Lease
from penstock.looper import Looper, plain_line

log = logging.getLogger(__name__)

LOOK_S = 10.0
STEP = 2_000
_ROOM = 0.95
"""It is made to be so much of the bound: not at the bound for ever."""


class Bounds:
    """Deletes what is beyond the bound.

    Args:
        database: which.
        lease: whether to.
        max_bytes: of documents, before MongoDB compresses them.
        expected: what a turn raises while MongoDB is away.
        look_s: between two looks.
    """

    def __init__(
        self,
        database: Database,
        lease: Lease,
        max_bytes: int,
        expected: tuple[type[BaseException], ...],
        look_s: float = LOOK_S,
    ) -> None:
        self._database = database
        self._lease = lease
        self._max_bytes = max_bytes
        self.size = 0
        """What tasks take, as looked last."""
        self.deleted = 0
        """Tasks deleted for the bound, since the start."""
        self.looper = Looper(
            "bounds", self._turn, interval_s=look_s, expected=expected, tell=plain_line
        )

    async def _turn(self) -> None:
        size, count = await self._measure()
        if not self._lease.held or size <= self._max_bytes or not count:
            return
        surplus = int(count * (1 - _ROOM * self._max_bytes / size)) + 1
        log.info("beyond-the-bound: bytes=%d tasks=%d deleting=%d", size, count, surplus)
        while surplus > 0 and self._lease.held:
            oldest = self._database.tasks.find({}, {"_id": 1}).sort([("at", 1), ("_id", 1)])
            ids = [one["_id"] async for one in oldest.limit(min(STEP, surplus))]
            if not ids:
                return
            result = await self._database.tasks.delete_many({"_id": {"$in": ids}})
            self.deleted += result.deleted_count
            surplus -= len(ids)
            await asyncio.sleep(0.01)

    async def _measure(self) -> tuple[int, int]:
        stats = await self._database.database.command("collStats", "tasks")
        self.size = int(stats.get("size", 0))
        return self.size, int(stats.get("count", 0))
