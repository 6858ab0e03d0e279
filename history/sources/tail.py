"""One stream of Redis, read to its end and on: position, gaps, trimming.

    read behind the position ─► handled ─► position in MongoDB, journaled ─► trimmed up to it
         │ the entry at the position is gone: what followed it may be, too ─► a gap is recorded

At least once: after a fault entries are read again, and what they say is merged again. The entry
at the position stays in the stream, so that a gap shows.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from history.database import Database
from history.redis_client import Batch, HistoryRedis
from history.sources.gaps import Gaps
from history.writing.facts import moment
from history.writing.lease import Lease
from penstock.looper import Looper, plain_line
from penstock.wire.keys import HISTORY_CHANGES

START = "0-0"
IDLE_S = 0.2
"""After the end of the stream: what comes meanwhile is one batch."""
SAVE_S = 0.5
"""Between two positions in MongoDB: what is repeated after a crash."""


class Tail:
    """Reads one stream.

    Args:
        name: of the stream.
        count: entries read at a time.
        read: reads it: given its name, a position, and how many entries.
        handle: writes what they say; raises where it could not.
        database: keeps the position.
        redis: has the stream.
        gaps: records what is lost.
        lease: whether to read.
        expected: what a turn raises while a server is away.
    """

    def __init__(
        self,
        name: str,
        count: int,
        read: Callable[[str, str, int], Awaitable[Batch[Any]]],
        handle: Callable[[Any], Awaitable[None]],
        database: Database,
        redis: HistoryRedis,
        gaps: Gaps,
        lease: Lease,
        expected: tuple[type[BaseException], ...],
    ) -> None:
        self.name = name
        self._count = count
        self._read = read
        self._handle = handle
        self._positions = database.positions
        self._redis = redis
        self._gaps = gaps
        self._lease = lease
        self._position: str | None = None
        self._saved: str | None = None
        self._saved_at = 0.0
        self._at_end_at = time.time()
        self.entries = 0
        """Entries handled, since the start."""
        self.looper = Looper(
            name.rpartition(":")[2], self._turn, interval_s=0.0, expected=expected, tell=plain_line
        )

    def __repr__(self) -> str:
        """Say how far it is."""
        return f"<Tail {self.name} {self._position}>"

    @property
    def lag_s(self) -> float:
        """How far behind it is, seconds.

        While there is more to read: how old the last entry is that was handled. While nothing can
        be read or written: since when. 0 in a process that does not write.
        """
        return 0.0 if self._lease.elsewhere else max(0.0, time.time() - self._at_end_at)

    async def _turn(self) -> None:
        if not self._lease.held:
            self._position = None
            await asyncio.sleep(IDLE_S)
            return
        if self._position is None:
            await self._begin()
        position = self._position or START
        looked_at = time.time()
        batch = await self._read(self.name, position, self._count)
        lost = position != START and not batch.intact
        if lost:
            until = moment(batch.first) if batch.count else datetime.now(UTC)
            await self._gaps.add(self.name, moment(position), until)
        if batch.count:
            # The position stays until this is written: what the stream loses meanwhile shows as the
            # same gap, longer.
            await self._handle(batch.content)
            self._position = batch.last
            self.entries += batch.count
        elif lost:
            self._position = START
        at_end = batch.count < self._count
        self._at_end_at = looked_at if at_end else moment(batch.last).timestamp()
        await self._save()
        if at_end:
            await asyncio.sleep(IDLE_S)

    async def _begin(self) -> None:
        """Find where another process, or this one before, has stopped."""
        found = await self._positions.find_one({"_id": self.name})
        if found is None:
            if self.name == HISTORY_CHANGES:  # what Redis knows from before there was a history
                await self._gaps.add(self.name, datetime.fromtimestamp(0, UTC), datetime.now(UTC))
            await self._store(START)
        self._position = self._saved = found["position"] if found is not None else START

    async def _save(self) -> None:
        position, now = self._position, time.monotonic()
        if position is None or position == self._saved or now - self._saved_at < SAVE_S:
            return
        await self._store(position)
        self._saved, self._saved_at = position, now
        await self._redis.trim(self.name, position)

    async def _store(self, position: str) -> None:
        await self._positions.update_one(
            {"_id": self.name},
            {"$set": {"position": position, "at": datetime.now(UTC)}},
            upsert=True,
        )

    async def finish(self) -> None:
        """Save the position when the process ends.

        Raises:
            PyMongoError: it is not saved; entries are read again.
        """
        if self._lease.held and self._position not in {None, self._saved}:
            await self._store(str(self._position))
