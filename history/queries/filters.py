"""Filters of tasks as MongoDB's."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

from history.database import Documents
from history.queries.asked import QUERY_MS
from history.writing.words import words_of
from penstock.wire.history_queries import Where
from penstock.wire.records import FINAL

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SPECIAL = frozenset("*?[")
_FIELDS = {"queue": "queue", "worker": "worker", "failure": "failure", "root": "root"}


def plain_filter(where: Where, names: Sequence[str]) -> dict[str, Any]:
    """Return the filter of MongoDB for tasks.

    Args:
        where: Which tasks.
        names: What its pattern of names matches.
    """
    found: dict[str, Any] = {}
    if where.tenant is not None:
        found["tenant"] = where.tenant
    if where.states:
        found["state"] = one_of(where.states)
    elif where.unended:
        found["state"] = {"$nin": sorted(FINAL)}
    if where.task:
        found["task"] = one_of(names)
    for name, field in _FIELDS.items():
        if value := getattr(where, name):
            found[field] = value
    words = words_of((where.text,))
    if where.error:
        found["error.type"] = where.error
        words = [*words, *words_of((where.error,))]  # the index of words finds it
    if words:
        found["words"] = {"$all": sorted(set(words))} if len(set(words)) > 1 else words[0]
    if at := between(where.since_ms, where.until_ms):
        found["at"] = at
    return found


def one_of(values: Iterable[str]) -> Any:
    """Return what matches any of the values."""
    found = sorted(set(values))
    return found[0] if len(found) == 1 else {"$in": found}


def is_pattern(name: str) -> bool:
    """Return whether a name has signs of `fnmatch` in it."""
    return not _SPECIAL.isdisjoint(name)


async def mongo_filter(where: Where, tasks: Documents) -> dict[str, Any]:
    """Return the filter of MongoDB for tasks.

    A pattern of names is looked up among the names that there are: so it is read as Python reads
    it, and the index of names gives its tasks in order; one that matches none costs nothing.

    Args:
        where: Which tasks.
        tasks: Have the names.

    Raises:
        PyMongoError: MongoDB is away, or slow.
    """
    names = await names_of(where.task, tasks) if is_pattern(where.task) else (where.task,)
    return plain_filter(where, names)


async def names_of(pattern: str, tasks: Documents) -> list[str]:
    """Return the names of tasks that match a pattern.

    Raises:
        PyMongoError: MongoDB is away, or slow.
    """
    names = await tasks.distinct("task", maxTimeMS=QUERY_MS)
    return [name for name in names if isinstance(name, str) and fnmatchcase(name, pattern)]


def between(since_ms: int | None, until_ms: int | None) -> dict[str, datetime]:
    """Return the bounds of a time."""
    found = {}
    if since_ms is not None:
        found["$gte"] = moment(since_ms)
    if until_ms is not None:
        found["$lt"] = moment(until_ms)
    return found


def moment(unix_ms: int) -> datetime:
    """Return a time from milliseconds; those outside of what MongoDB's clients read are cut."""
    return _EPOCH + timedelta(milliseconds=min(max(unix_ms, 0), 253_402_300_799_999))


def millis(time: datetime) -> int:
    """Return a time in milliseconds."""
    return (time - _EPOCH) // timedelta(milliseconds=1)
