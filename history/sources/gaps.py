"""Times of which changes were lost before they were read, and filling them from records in Redis.

The records of a day are still there when the stream is not: all are walked through, in small steps.
What only the other streams say (what a task was asked with, that it waits) cannot be filled.
"""

import asyncio
import logging
import secrets
from datetime import UTC, datetime

from history.database import Database
from history.redis_client import HistoryRedis
from history.sources.changes import Changes
from history.writing.lease import Lease
from history.writing.writer import Writer
from penstock.looper import Looper, plain_line
from penstock.wire.keys import HISTORY_CHANGES, RECORD_PREFIX

log = logging.getLogger(__name__)

STEP_KEYS = 1_000
STEP_PAUSE_S = 0.02
"""Between two steps: Redis is asked for less than a tenth of the time."""
LOOK_S = 1.0
_SEQUENCE_BITS = 20
_OURS = "penstock:"


class Gaps:
    """Records gaps, and fills them.

    Args:
        database: where they are recorded.
        redis: where the records are.
        writer: writes what they say.
        lease: whether to.
        expected: what a turn raises while a server is away.
    """

    def __init__(
        self,
        database: Database,
        redis: HistoryRedis,
        writer: Writer,
        lease: Lease,
        expected: tuple[type[BaseException], ...],
    ) -> None:
        self._gaps = database.gaps
        self._redis = redis
        self._writer = writer
        self._lease = lease
        self._changes = Changes(redis)
        self.found = 0
        """Gaps recorded, since the start."""
        self.open = 0
        """Gaps that are not filled yet."""
        self.looper = Looper(
            "gaps", self._turn, interval_s=LOOK_S, expected=expected, tell=plain_line
        )

    async def add(self, stream: str, since: datetime, until: datetime) -> None:
        """Record that entries of a stream were lost; one that begins as an open one is the same.

        Raises:
            PyMongoError: it is not recorded.
        """
        result = await self._gaps.update_one(
            {"stream": stream, "from": since, "filled": None},
            {
                "$max": {"to": until},
                "$setOnInsert": {
                    "_id": secrets.token_hex(8),
                    "found_at": datetime.now(UTC),
                    "fillable": stream == HISTORY_CHANGES,
                },
            },
            upsert=True,
        )
        if result.upserted_id is None:
            return
        if since.timestamp() == 0:
            log.info("first-start: what Redis has of earlier tasks is read")
            return
        self.found += 1
        log.warning("gap: stream=%s from=%s to=%s", stream, since, until)

    async def _turn(self) -> None:
        if not self._lease.held:
            return
        gaps = [gap async for gap in self._gaps.find({"stream": HISTORY_CHANGES, "filled": None})]
        self.open = len(gaps)
        if not gaps:
            return
        since = min(int(gap["from"].timestamp() * 1000) for gap in gaps)
        records = await self._walk(since << _SEQUENCE_BITS)
        for gap in gaps:  # one that has become longer meanwhile is filled once more
            same = {"_id": gap["_id"], "to": gap["to"]}
            await self._gaps.update_one(same, {"$set": {"filled": datetime.now(UTC)}})
        self.open = 0
        log.info("gaps-filled: gaps=%d records=%d", len(gaps), records)

    async def _walk(self, since: int) -> int:
        """Write what all records say that changed since; return how many did."""
        cursor, count = 0, 0
        self._changes.forget()
        while True:
            cursor, names = await self._redis.scan(cursor, f"*{RECORD_PREFIX}*", STEP_KEYS)
            records = [name for name in names if not name.startswith(_OURS)]
            facts = await self._changes.read(records, since)
            await self._writer.write(facts)
            count += len(facts)
            if cursor == 0:
                return count
            await asyncio.sleep(STEP_PAUSE_S)
