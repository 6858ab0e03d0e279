"""Changes of state: names of records from the stream, and what the records and their events say.

The stream names what has changed; the record says how. So a burst of changes of one task is read
once, and a writer that was slow has less to do, not more.
"""

import logging
import re
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

from history.redis_client import HistoryRedis
from history.sources.records import (
    HEAD_BYTES,
    LONG_HEAD_BYTES,
    WHOLE_BYTES,
    facts_of,
    members_of,
    with_error,
)
from history.writing.facts import Facts, order_of
from penstock.wire.keys import RECORD_PREFIX

log = logging.getLogger(__name__)

AT_ONCE = 250
"""Records read in one step: a millisecond or two of Redis' time."""
MAX_ID_CHARS = 512
_CURSOR = re.compile(r"\d{1,15}-\d{1,9}")
_REMEMBERED = 50_000
_LONG_STATES = frozenset({"FAILURE", "RETRY", "REVOKED"})


class Changes:
    """Reads records.

    Args:
        redis: where they are.
    """

    def __init__(self, redis: HistoryRedis) -> None:
        self._redis = redis
        self._seen: OrderedDict[str, str] = OrderedDict()
        """The last cursor of tasks whose events go on, so that only newer ones are read."""
        self.vanished = 0
        """Records that were gone before they were read."""
        self.malformed = 0
        """Records that are none."""

    async def read(self, names: Iterable[str], since: int = -1) -> list[Facts]:
        """Return what records say.

        Args:
            names: of records.
            since: the order of a cursor: records whose last change is older are left out.

        Raises:
            REDIS_AWAY: they could not be read.
        """
        named = [(name, task_id) for name in names if (task_id := _task_id(name))]
        facts: list[Facts] = []
        for first in range(0, len(named), AT_ONCE):
            facts += await self._read(named[first : first + AT_ONCE], since)
        return facts

    async def _read(self, named: list[tuple[str, str]], since: int) -> list[Facts]:
        known = [(name, self._seen.get(task_id, "0-0")) for name, task_id in named]
        found = await self._redis.records(known, HEAD_BYTES)
        records: list[tuple[str, dict[str, Any], list[tuple[str, bytes]]]] = []
        long: list[tuple[str, int]] = []
        for (name, task_id), (head, events) in zip(named, found, strict=True):
            if not head:
                self.vanished += 1
                continue
            record, whole = members_of(head)
            cursor = record.get("cursor")
            if not (isinstance(cursor, str) and _CURSOR.fullmatch(cursor)):
                continue  # a stock worker's
            if not isinstance(record.get("status"), str):
                continue
            if order_of(cursor) < since:
                continue
            if not whole and record.get("status") in _LONG_STATES:
                long.append((name, len(records)))
            records.append((task_id, record, events))
        heads = await self._redis.heads([name for name, _ in long], LONG_HEAD_BYTES)
        for (name, place), head in zip(long, heads, strict=True):
            record, _ = members_of(head)
            if head and "result" not in record:  # one at a time: none stays in memory
                [longer] = await self._redis.heads([name], WHOLE_BYTES)
                record = with_error(longer)
            if "status" in record:  # else it is gone
                task_id, _, events = records[place]
                records[place] = task_id, record, events
        for task_id, _, events in records:
            if events:
                self._remember(task_id, events[-1][0])
        return [facts for one in records if (facts := self._facts(*one))]

    def _facts(
        self, task_id: str, record: dict[str, Any], events: list[tuple[str, bytes]]
    ) -> Facts | None:
        try:
            return facts_of(task_id, record, events)
        except (ArithmeticError, AttributeError, LookupError, OSError, TypeError, ValueError):
            self.malformed += 1
            log.exception("malformed-record: task_id=%r", task_id)
            return None  # one record must not hold up all others

    def forget(self) -> None:
        """Read all events again: what was read of them may not have been written."""
        self._seen.clear()

    def _remember(self, task_id: str, cursor: str) -> None:
        self._seen[task_id] = cursor
        self._seen.move_to_end(task_id)
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)


def _task_id(name: str) -> str:
    """Return the id that a record is of, whatever its app's prefix; empty: it is no record."""
    _, mark, task_id = name.partition(RECORD_PREFIX)
    return task_id if mark and len(task_id) <= MAX_ID_CHARS else ""
