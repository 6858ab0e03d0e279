"""Which tasks an operation is about: by their ids, or by a filter."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from history.database import Documents
from history.queries.asked import where_of
from history.queries.filters import mongo_filter
from penstock.wire.history_queries import MOST_IDS, MOST_TASKS, Where

COUNT_MS = 10_000
"""Longest time of a count, or of a page of a selection."""
_RETRYABLE: dict[str, Any] = {"request.args": {"$exists": True}, "masked": {"$ne": True}}
_KEPT = {
    "$and": [{"$ne": [{"$type": "$request.args"}, "missing"]}, {"$ne": ["$masked", True]}],
}
_SELECTED = {"tenant": 1, "kept": _KEPT}
_PAGE = 2000


class TooManyError(ValueError):
    """A filter matches more tasks than one operation takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """How many tasks are meant."""

    matched: int
    """Of which history knows; all ids, where those of which it knows nothing count too."""
    without_request: int
    """Those of them whose arguments were not kept, or with masked secrets."""
    unknown: int
    """Ids of which history knows nothing."""

    def to_json(self) -> dict[str, int]:
        """Return the members of an answer."""
        return {
            "matched": self.matched,
            "without_request": self.without_request,
            "unknown": self.unknown,
        }


@dataclass(frozen=True, slots=True)
class Selection:
    """Either ids or a filter."""

    ids: tuple[str, ...] = ()
    where: Where | None = None
    known_only: bool = True
    """Whether ids of which history knows nothing are left out."""

    @classmethod
    def from_json(cls, body: Mapping[str, Any], *, known_only: bool) -> "Selection":
        """Read a selection.

        Raises:
            ValueError: It is none.
        """
        selection = body.get("selection")
        if not isinstance(selection, dict):
            raise ValueError("selection is no object")  # noqa: TRY004  # of what was sent
        ids = selection.get("ids")
        if ids is None:
            return cls(where=where_of(selection), known_only=known_only)
        if not all(isinstance(one, str) for one in ids) or not 0 < len(ids) <= MOST_IDS:
            raise ValueError("ids are no list of text")
        return cls(ids=tuple(dict.fromkeys(ids)), known_only=known_only)

    async def filter(self, tasks: Documents, *, before: datetime | None = None) -> dict[str, Any]:
        """Return the filter of MongoDB.

        Args:
            tasks: What it is for.
            before: Leave out what was accepted later.

        Raises:
            PyMongoError: MongoDB is away, or slow.
        """
        if self.where is None:
            return {"_id": {"$in": list(self.ids)}}
        found = await mongo_filter(self.where, tasks)
        if before is not None:
            found["at"] = {**found.get("at", {})}
            found["at"]["$lt"] = min(before, found["at"].get("$lt", before))
        return found

    async def count(self, tasks: Documents) -> Counted:
        """Count the tasks.

        Raises:
            PyMongoError: MongoDB is away, or the count takes too long.
        """
        wanted = await self.filter(tasks)
        matched = await tasks.count_documents(wanted, maxTimeMS=COUNT_MS)
        kept = await tasks.count_documents({**wanted, **_RETRYABLE}, maxTimeMS=COUNT_MS)
        unknown = len(self.ids) - matched if self.ids else 0
        if not self.known_only:
            matched += unknown
        return Counted(matched=matched, without_request=matched - kept, unknown=unknown)

    async def pages(
        self, tasks: Documents, before: datetime
    ) -> AsyncIterator[list[dict[str, Any]]]:
        """Give the tasks, those first that were accepted first; of ids, in their order.

        Raises:
            TooManyError: There are more than one operation takes.
            PyMongoError: MongoDB is away, or slow.
        """
        if self.where is None:
            for start in range(0, len(self.ids), _PAGE):
                ids = self.ids[start : start + _PAGE]
                rows = await tasks.find({"_id": {"$in": list(ids)}}, _SELECTED).to_list(None)
                known = {one["_id"]: one for one in rows}
                blank = [] if self.known_only else [{"_id": one} for one in ids if one not in known]
                yield [*(known[one] for one in ids if one in known), *blank]
            return
        wanted = await self.filter(tasks, before=before)
        cursor = (
            tasks.find(wanted, _SELECTED, allow_disk_use=True, max_time_ms=COUNT_MS)
            .sort([("at", 1), ("_id", 1)])
            .limit(MOST_TASKS + 1)
            .batch_size(_PAGE)
        )
        given = 0
        while rows := await cursor.to_list(_PAGE):
            given += len(rows)
            if given > MOST_TASKS:
                raise TooManyError(f"the filter matches more than {MOST_TASKS} tasks")
            yield rows
