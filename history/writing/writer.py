"""Facts into MongoDB: read what is known of their tasks, merge, write; the one place that writes.

    facts ─► documents known (one find) ─► merged ─► one bulk of inserts and updates
                 ▲                                      │ another process wrote meanwhile
                 └────────────── again, three times ◄───┘

An update holds only where the document still has the version `v` that it was merged with: what is
written at the same time, by this process or another, loses nothing of each other.
"""

import logging
from collections.abc import Iterable, Mapping
from typing import Any

import bson
from bson.errors import InvalidDocument, InvalidStringData
from pymongo import InsertOne, UpdateOne, WriteConcern
from pymongo.errors import BulkWriteError, PyMongoError

from history.database import Database
from history.writing.cleaning import clean
from history.writing.concurrently import concurrently
from history.writing.facts import Facts
from history.writing.merging import Merger, together

log = logging.getLogger(__name__)

BATCH = 250
"""Tasks of one bulk; some are under way at a time, so that MongoDB and we do not wait in turns."""
_ATTEMPTS = 4
_DUPLICATE_KEY = 11000
_NOT_BSON = (InvalidDocument, InvalidStringData, OverflowError, ValueError, RecursionError)
"""What encoding raises, before or in a bulk."""


class ContendedError(PyMongoError):
    """Another process keeps changing the same tasks; what is not written is written again."""


class Writer:
    """Writes tasks.

    Args:
        database: where.
        merger: how.
    """

    def __init__(self, database: Database, merger: Merger) -> None:
        # Journaled: a reader goes on behind what was acknowledged, and a mongod that is killed must
        # not come back without it.
        self._tasks = database.tasks.with_options(
            write_concern=WriteConcern(w="majority", j=True, wtimeout=10_000)
        )
        self._merger = merger
        self.written = 0
        """Documents written, since the start."""
        self.refused = 0
        """Documents that MongoDB would not take, since the start."""

    async def write(self, facts: Iterable[Facts]) -> None:
        """Write what is known; safe to repeat.

        Raises:
            PyMongoError: not all of it is written. Repeat.
        """
        found = list(together(facts).values())
        await concurrently(
            self._write({one.task_id: one for one in found[first : first + BATCH]})
            for first in range(0, len(found), BATCH)
        )

    async def _write(self, facts: dict[str, Facts]) -> None:
        doubtful = False
        for _ in range(_ATTEMPTS):
            # One more than there are: MongoDB says with the first batch that it was the last.
            found = self._tasks.find({"_id": {"$in": list(facts)}}, batch_size=len(facts) + 1)
            known = {document["_id"]: document for document in await found.to_list(None)}
            commands: list[Any] = []
            for task_id, one in facts.items():
                command = self._change(known.get(task_id), one, doubtful=doubtful)
                if command is not None:
                    commands.append(command)
            try:
                if not commands or await self._bulk(commands):
                    return
            except _NOT_BSON:
                if doubtful:
                    raise
                doubtful = True  # which of them it is shows when each is looked at
        raise ContendedError("another process writes the same tasks")

    def _change(
        self, before: Mapping[str, Any] | None, facts: Facts, *, doubtful: bool
    ) -> InsertOne[dict[str, Any]] | UpdateOne | None:
        try:
            members = self._merger.merged(before, facts)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            self.refused += 1
            log.exception("not-merged: task_id=%r", facts.task_id)
            return None  # one task must not hold up all others
        if not members:
            return None
        if doubtful:
            try:
                bson.encode(members)
            except _NOT_BSON:
                members = clean(members)
        if before is None:
            return InsertOne({"_id": facts.task_id, "v": 1, **members})
        version = before.get("v")
        same = {"_id": facts.task_id, "v": version}
        return UpdateOne(same, {"$set": {**members, "v": (version or 0) + 1}})

    async def _bulk(self, commands: list[Any]) -> bool:
        """Write; return whether every document was as it was read."""
        contended = False
        try:
            result = await self._tasks.bulk_write(commands, ordered=False)
            inserted, matched = result.inserted_count, result.matched_count
        except BulkWriteError as error:
            details = error.details or {}
            if details.get("writeConcernErrors"):
                raise
            for one in details.get("writeErrors", ()):
                if one.get("code") == _DUPLICATE_KEY:
                    contended = True
                    continue
                self.refused += 1
                log.warning("document-refused: error=%r", str(one.get("errmsg"))[:300])
            inserted, matched = details.get("nInserted", 0), details.get("nMatched", 0)
            if not contended:
                self.written += inserted + matched
                return True
        self.written += inserted + matched
        return not contended and inserted + matched == len(commands)
