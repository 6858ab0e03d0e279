"""The bound on what tasks and counts of failures take: beyond it the oldest go, in small steps.

|─ counts: a quarter at most ─|─────────────── tasks: the rest ───────────────|
"""

import asyncio
import logging

from history.database import Database, Documents
from history.writing.lease import Lease
from penstock.looper import Looper, plain_line

log = logging.getLogger(__name__)

LOOK_S = 10.0
STEP = 2_000
_ROOM = 0.95
"""It is made to be so much of the bound: not at the bound for ever."""
_COUNTS = 0.25
"""Of the bound that counts of failures may take: with a group for each failure they grow as fast as
tasks do."""
_BY_AGE = {"tasks": [("at", 1), ("_id", 1)], "failures": [("expires_at", 1)]}


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
        """What tasks and counts take, as looked last."""
        self.deleted = 0
        """Documents deleted for the bound, since the start."""
        self.looper = Looper(
            "bounds", self._turn, interval_s=look_s, expected=expected, tell=plain_line
        )

    async def _turn(self) -> None:
        counts = await self._measure(self._database.failures)
        tasks = await self._measure(self._database.tasks)
        self.size = counts[0] + tasks[0]
        if not self._lease.held:
            return
        most = int(self._max_bytes * _COUNTS)
        await self._keep(self._database.failures, counts, most)
        await self._keep(self._database.tasks, tasks, self._max_bytes - min(counts[0], most))

    async def _keep(self, documents: Documents, there: tuple[int, int], most: int) -> None:
        """Delete the oldest where there is more than the bound."""
        size, count = there
        if size <= most or not count:
            return
        surplus = int(count * (1 - _ROOM * most / size)) + 1
        name = documents.name
        log.info("beyond-the-bound: of=%s bytes=%d count=%d deleting=%d", name, *there, surplus)
        while surplus > 0 and self._lease.held:
            oldest = documents.find({}, {"_id": 1}).sort(_BY_AGE[name])
            ids = [one["_id"] async for one in oldest.limit(min(STEP, surplus))]
            if not ids:
                return
            result = await documents.delete_many({"_id": {"$in": ids}})
            self.deleted += result.deleted_count
            surplus -= len(ids)
            await asyncio.sleep(0.01)

    async def _measure(self, documents: Documents) -> tuple[int, int]:
        """Return how many octets, and how many."""
        stats = await self._database.database.command("collStats", documents.name)
        return int(stats.get("size", 0)), int(stats.get("count", 0))
