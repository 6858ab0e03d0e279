"""MongoDB: the database of history, its collections and their indexes.

Motor lives in this file alone, so that moving to PyMongo's own asynchronous client is a change of
one file. Handlers and the writer are given collections.

    tasks            one document per task, newest first by `at`
    failures         how many failures of a group ended in an hour, and one example: of each tenant,
                     and of all together (`_id.all`)
    gaps             times of which changes were lost before they were read, and whether filled
    positions        how far each stream was read; who writes
    operations       long operations that gateways run
    operation_items  the tasks of each
"""

from collections.abc import Mapping
from typing import Any

from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorCollection, AsyncIOMotorDatabase
from pymongo import ASCENDING, DESCENDING, IndexModel, WriteConcern
from pymongo.errors import OperationFailure

TIMEOUTS: Mapping[str, Any] = {
    "serverSelectionTimeoutMS": 3_000,
    "connectTimeoutMS": 3_000,
    "socketTimeoutMS": 20_000,
    "heartbeatFrequencyMS": 2_000,
}
"""Under options of the URL. The heartbeats are what finds MongoDB back."""
_INDEX_DIFFERS = frozenset({85, 86})
"""IndexOptionsConflict, IndexKeySpecsConflict."""

_NEWEST_FIRST = (("at", DESCENDING), ("_id", DESCENDING))
"""How every index ends from which pages are read: so none of them is sorted."""
_TASKS = (
    IndexModel([*_NEWEST_FIRST]),
    IndexModel([("task", ASCENDING), ("state", ASCENDING), *_NEWEST_FIRST]),
    IndexModel([("state", ASCENDING), *_NEWEST_FIRST]),
    IndexModel(
        [("failure", ASCENDING), *_NEWEST_FIRST],
        partialFilterExpression={"failure": {"$exists": True}},
    ),
    IndexModel([("words", ASCENDING), *_NEWEST_FIRST]),
    IndexModel([("tenant", ASCENDING), *_NEWEST_FIRST]),
    IndexModel([("root", ASCENDING), *_NEWEST_FIRST]),
    IndexModel([("worker", ASCENDING), *_NEWEST_FIRST]),
    IndexModel([("queue", ASCENDING), *_NEWEST_FIRST]),
    IndexModel(  # of hours that are counted in part
        [("ended_at", DESCENDING), ("failure", ASCENDING), ("tenant", ASCENDING)],
        partialFilterExpression={"state": "FAILURE"},
    ),
    IndexModel(
        [("uncounted", ASCENDING)], partialFilterExpression={"uncounted": {"$exists": True}}
    ),
    IndexModel([("expires_at", ASCENDING)], expireAfterSeconds=0),
)
_COUNTS = (("_id.hour", DESCENDING), ("_id.failure", ASCENDING), ("count", ASCENDING),
           ("first_at", ASCENDING), ("last_at", ASCENDING))  # fmt: skip
"""All that grouping adds up: it reads the index, and none of the documents."""
_FAILURES = (
    IndexModel([("_id.all", ASCENDING), *_COUNTS]),
    IndexModel([("_id.tenant", ASCENDING), *_COUNTS]),
    IndexModel([("expires_at", ASCENDING)], expireAfterSeconds=0),
)
_ITEMS = (
    IndexModel([("_id.op", ASCENDING), ("state", ASCENDING), ("_id.n", ASCENDING)]),
    IndexModel([("expires_at", ASCENDING)], expireAfterSeconds=0),
)
_EXPIRING = (IndexModel([("expires_at", ASCENDING)], expireAfterSeconds=0),)

INDEXES = {
    "tasks": _TASKS,
    "failures": _FAILURES,
    "operations": _EXPIRING,
    "operation_items": _ITEMS,
}
"""Collection → its indexes."""

Documents = AsyncIOMotorCollection[dict[str, Any]]


class Database:
    """The database of history, on one client for the running event loop.

    Args:
        url: of MongoDB.
        name: of the database.
    """

    def __init__(self, url: str, name: str) -> None:
        self._client: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(
            url, tz_aware=True, appname="penstock-history", **TIMEOUTS
        )
        self.database: AsyncIOMotorDatabase[dict[str, Any]] = self._client[name]
        self.tasks: Documents = self.database["tasks"]
        self.failures: Documents = self.database["failures"]
        self.gaps: Documents = self.database["gaps"]
        self.operations: Documents = self.database["operations"]
        self.operation_items: Documents = self.database["operation_items"]
        # Journaled, and by a majority where there are several: what a position covers is not read
        # again, so whatever was written before it must be safe by then.
        self.positions: Documents = self.database["positions"].with_options(
            write_concern=WriteConcern(w="majority", j=True, wtimeout=10_000)
        )

    def __repr__(self) -> str:
        """Name it, never the credentials of the URL."""
        return f"<Database {self.database.name}>"

    async def prepare(self) -> None:
        """Make the indexes that are missing; safe to repeat.

        Raises:
            PyMongoError: MongoDB is away, or refused.
        """
        for name, indexes in INDEXES.items():
            try:
                await self.database[name].create_indexes(list(indexes))
            except OperationFailure as error:
                if (
                    error.code not in _INDEX_DIFFERS
                ):  # an operator made one otherwise: theirs counts
                    raise

    async def ping(self) -> None:
        """Find out whether MongoDB answers.

        Raises:
            PyMongoError: it does not.
        """
        await self.database.command("ping")

    def close(self) -> None:
        """Close every connection."""
        self._client.close()
