"""Failures counted by group and hour, each exactly once, on a MongoDB without transactions.

A task that fails is written with the mark `uncounted`. Marked ones are counted in numbered rounds:

    1. the round and its tasks are written down     (a crash: it is done again, from here)
    2. each group is added to, unless it has seen the round
    3. the marks are taken off                      4. the round is forgotten
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import bson
from pymongo import UpdateOne
from pymongo.errors import BulkWriteError

from history.database import Database
from history.writing.lease import Lease
from penstock.looper import Looper, plain_line

ROUND = 2_000
"""Tasks counted at a time, at most."""
ROUND_BYTES = 2 * 1024 * 1024
"""Of what is read of them, at most: up to three times as much is written down, in one document, of
which MongoDB takes 16 MiB."""
MAX_EXAMPLE_CHARS = 300
"""Of the message of a group's example; the example has all that is kept of it."""
INTERVAL_S = 1.0
_ID = "counting"
_DUPLICATE_KEY = 11000
_NEEDED = {
    "failure": 1, "tenant": 1, "ended_at": 1, "task": 1, "cursor": 1, "error.type": 1,
    "error.message": 1,
}  # fmt: skip


class Counting:
    """Counts failures.

    Args:
        database: where.
        lease: whether to.
        days: how long a count is kept.
        expected: what a turn raises while MongoDB is away.
    """

    def __init__(
        self,
        database: Database,
        lease: Lease,
        days: int,
        expected: tuple[type[BaseException], ...],
    ) -> None:
        self._tasks = database.tasks
        self._failures = database.failures
        self._positions = database.positions
        self._lease = lease
        self._kept = timedelta(days=days)
        self.looper = Looper(
            "counting", self._turn, interval_s=INTERVAL_S, expected=expected, tell=plain_line
        )

    async def _turn(self) -> None:
        while self._lease.held and await self.count():
            pass

    async def count(self) -> int:
        """Count some failures; return how many.

        Raises:
            PyMongoError: MongoDB is away; the round is done again.
        """
        kept = await self._positions.find_one({"_id": _ID}) or {"round": 0, "ids": []}
        if not kept["ids"]:
            tasks = await self._marked()
            if not tasks:
                return 0
            kept = {
                "round": kept["round"] + 1,
                "ids": [[one["_id"], one.get("cursor")] for one in tasks],
                "groups": _groups(tasks),
            }
            await self._positions.update_one({"_id": _ID}, {"$set": kept}, upsert=True)
        await self._add(kept["round"], kept["groups"])
        await self._tasks.bulk_write(
            [
                # Not where it has failed once more meanwhile.
                UpdateOne({"_id": one, "cursor": cursor}, {"$unset": {"uncounted": ""}})
                for one, cursor in kept["ids"]
            ],
            ordered=False,
        )
        await self._positions.update_one({"_id": _ID}, {"$set": {"ids": [], "groups": []}})
        return len(kept["ids"])

    async def _marked(self) -> list[dict[str, Any]]:
        """Return as many tasks that are not counted as one document can name."""
        tasks: list[dict[str, Any]] = []
        size = 0
        async for one in self._tasks.find({"uncounted": True}, _NEEDED).limit(ROUND):
            if message := (one.get("error") or {}).get("message"):
                one["error"]["message"] = message[:MAX_EXAMPLE_CHARS]
            size += len(bson.encode(one))
            if tasks and size > ROUND_BYTES:
                break
            tasks.append(one)
        return tasks

    async def _add(self, number: int, groups: Iterable[Mapping[str, Any]]) -> None:
        commands = [self._command(number, group) for group in groups]
        if not commands:
            return
        try:
            await self._failures.bulk_write(commands, ordered=False)
        except BulkWriteError as error:
            codes = {one.get("code") for one in (error.details or {}).get("writeErrors", ())}
            if codes != {_DUPLICATE_KEY}:  # it has seen the round: an upsert finds it there
                raise

    def _command(self, number: int, group: Mapping[str, Any]) -> UpdateOne:
        return UpdateOne(
            {"_id": group["_id"], "round": {"$lt": number}},
            {
                "$inc": {"count": group["count"]},
                "$min": {"first_at": group["first_at"]},
                "$max": {"last_at": group["last_at"]},
                "$set": {
                    "round": number,
                    "task": group["task"],
                    "error": group["error"],
                    "example": group["example"],
                    "expires_at": group["_id"]["hour"] + timedelta(hours=1) + self._kept,
                },
            },
            upsert=True,
        )


def _groups(tasks: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for task in tasks:
        if not task.get("failure"):
            continue  # a later attempt has succeeded
        ended: datetime = task.get("ended_at") or datetime.now(UTC)
        hour = ended.replace(minute=0, second=0, microsecond=0)
        error = task.get("error") or {}
        last = {
            "last_at": ended,
            "task": task.get("task"),
            "error": {"type": error.get("type"), "message": error.get("message")},
            "example": task["_id"],
        }
        # Of its tenant, and of all: `admin` has not to add up those of every tenant.
        for whose in ({"tenant": task.get("tenant")}, {"all": True}):
            group = found.setdefault(
                (task["failure"], *whose.items(), hour),
                {
                    "_id": {"failure": task["failure"], **whose, "hour": hour},
                    "count": 0,
                    "first_at": ended,
                    "last_at": ended,
                },
            )
            group["count"] += 1
            group["first_at"] = min(group["first_at"], ended)
            if ended >= group["last_at"]:
                group |= last
    return list(found.values())
