"""Failures in groups, from the counts of each hour; hours that a bound cuts are counted anew."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from aiohttp import web

from history.database import Database
from history.keys import DATABASE
from history.queries.asked import QUERY_MS, answered, asked, optional_number_of, tenant_of, text_of
from history.queries.filters import is_pattern, millis, moment, names_of, one_of

MOST_GROUPS: Final = 500
"""Groups of one answer: those with the most failures."""
HOURS: Final = 24
_HOUR: Final = timedelta(hours=1)
_MOST_MS: Final = 1 << 53
_ABOUT: Final = {"task": 1, "error": 1, "example": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Of when the failures are."""

    since: datetime
    until: datetime
    last: datetime
    """The hour that `per_hour` ends with."""
    whole: bool
    """Whether no hour is cut."""

    @classmethod
    def of(cls, since_ms: int | None, until_ms: int | None, now: datetime) -> "Span":
        """Return the span of a query; by default the present hour and the 23 before it."""
        until = now + _HOUR if until_ms is None else moment(until_ms)
        last = hour_of(now if until_ms is None else until - timedelta(milliseconds=1))
        since = last - (HOURS - 1) * _HOUR if since_ms is None else moment(since_ms)
        whole = since == hour_of(since) and (until_ms is None or until == hour_of(until))
        return cls(since=since, until=until, last=last, whole=whole)


def hour_of(time: datetime) -> datetime:
    """Return when the hour of a time began."""
    return time.replace(minute=0, second=0, microsecond=0)


async def failures(request: web.Request) -> web.Response:
    """Return groups of failures, those with the most first."""
    body = await asked(request)
    span = Span.of(
        optional_number_of(body, "since_ms", 0, _MOST_MS),
        optional_number_of(body, "until_ms", 0, _MOST_MS),
        datetime.now(UTC),
    )
    tenant = tenant_of(body)
    whose: dict[str, Any] = {"_id.all": True} if tenant is None else {"_id.tenant": tenant}
    limit = optional_number_of(body, "limit", 1, MOST_GROUPS) or MOST_GROUPS
    database = request.app[DATABASE]
    if name := text_of(body, "task", optional=True):
        names = await names_of(name, database.tasks) if is_pattern(name) else (name,)
        whose["task"] = one_of(names)
    (found, groups, total), cut = await asyncio.gather(
        # Of cut hours the counts are added to these: the order is known after that.
        _whole(database, whose, span, limit if span.whole else MOST_GROUPS),
        _cut(database, whose, span),
    )
    for group in cut:
        _add(found, group)
    rows = sorted(found.values(), key=lambda one: (-one["count"], -millis(one["last_at"])))
    shown = [_row(one, span) for one in rows[:limit]]
    return answered(
        {
            "failures": shown,
            "not_shown": max(groups, len(rows)) - len(shown),
            "total": total + sum(one["count"] for one in cut),
        }
    )


def _inside(span: Span) -> dict[str, Any]:
    """Match the counts of hours of which all failures are in the span."""
    return {
        "_id.hour": {"$gte": hour_of(span.since), "$lt": span.until},
        "first_at": {"$gte": span.since},
        "last_at": {"$lt": span.until},
    }


async def _whole(
    database: Database, whose: dict[str, Any], span: Span, limit: int
) -> tuple[dict[str, Any], int, int]:
    """Return the groups with the most failures by their ids; of all, how many, and their sum."""
    [both] = await database.failures.aggregate(
        [
            {"$match": {**whose, **_inside(span)}},
            {
                "$group": {
                    "_id": "$_id.failure",
                    "count": {"$sum": "$count"},
                    "first_at": {"$min": "$first_at"},
                    "last_at": {"$max": "$last_at"},
                }
            },
            {
                "$facet": {
                    "most": [{"$sort": {"count": -1, "last_at": -1}}, {"$limit": limit}],
                    "all": [
                        {
                            "$group": {
                                "_id": None,
                                "groups": {"$sum": 1},
                                "total": {"$sum": "$count"},
                            }
                        }
                    ],
                }
            },
        ],
        maxTimeMS=QUERY_MS,
    ).to_list(1)
    found = {one["_id"]: one for one in both["most"]}
    if found:
        await asyncio.gather(
            _add_hours(database, whose, span, found), _add_about(database, whose, found)
        )
    [sums] = both["all"] or [{"groups": 0, "total": 0}]
    return found, int(sums["groups"]), int(sums["total"])


async def _add_hours(
    database: Database, whose: dict[str, Any], span: Span, found: dict[str, Any]
) -> None:
    """Add the counts of each hour that is shown: of all groups they would cost twice as much."""
    inside = _inside(span)
    first = max(inside["_id.hour"]["$gte"], span.last - (HOURS - 1) * _HOUR)
    inside["_id.hour"] = {**inside["_id.hour"], "$gte": first}
    rows = await database.failures.aggregate(
        [
            {"$match": {**whose, **inside, "_id.failure": {"$in": list(found)}}},
            {
                "$group": {
                    "_id": "$_id.failure",
                    "hours": {"$push": "$_id.hour"},
                    "counts": {"$push": "$count"},
                }
            },
        ],
        maxTimeMS=QUERY_MS,
    ).to_list(None)
    for row in found.values():
        row["hours"] = []
    for one in rows:
        found[one["_id"]]["hours"] = [
            {"hour": hour, "count": count}
            for hour, count in zip(one["hours"], one["counts"], strict=True)
        ]


async def _add_about(database: Database, whose: dict[str, Any], found: dict[str, Any]) -> None:
    """Add what a group is, and its example, from the count of the hour of its last failure."""
    latest = [
        {"failure": one, **_owner(whose), "hour": hour_of(row["last_at"])}
        for one, row in found.items()
    ]
    about = database.failures.find({"_id": {"$in": latest}}, _ABOUT).max_time_ms(QUERY_MS)
    for one in await about.to_list(None):
        failure = one.pop("_id")["failure"]
        found[failure] |= one


def _owner(whose: dict[str, Any]) -> dict[str, Any]:
    """Return the member of a count's id that says whose it is."""
    return {"all": True} if "_id.all" in whose else {"tenant": whose["_id.tenant"]}


async def _cut(database: Database, whose: dict[str, Any], span: Span) -> list[dict[str, Any]]:
    """Count the failures of hours that a bound of the span cuts; of many groups, of the largest."""
    overlapping = {
        **whose,
        "_id.hour": {"$in": sorted({hour_of(span.since), hour_of(span.until)})},
        "last_at": {"$gte": span.since},
        "first_at": {"$lt": span.until},
        "$or": [{"first_at": {"$lt": span.since}}, {"last_at": {"$gte": span.until}}],
    }
    most = [("count", -1), ("last_at", -1)]
    counts = database.failures.find(overlapping, _ABOUT, sort=most, limit=MOST_GROUPS)
    cut = await counts.max_time_ms(QUERY_MS).to_list(None)
    if not cut:
        return []
    about = {(one["_id"]["failure"], one["_id"]["hour"]): one for one in cut}
    matched: dict[str, Any] = {
        "state": "FAILURE",
        "$or": [
            {"ended_at": {"$gte": max(hour, span.since), "$lt": min(hour + _HOUR, span.until)}}
            for hour in sorted({hour for _, hour in about})
        ],
    }
    if "_id.tenant" in whose:
        matched["tenant"] = whose["_id.tenant"]
    rows = await database.tasks.aggregate(
        [
            {"$match": matched},
            {
                "$group": {
                    "_id": {
                        "failure": "$failure",
                        "hour": {"$dateTrunc": {"date": "$ended_at", "unit": "hour"}},
                    },
                    "count": {"$sum": 1},
                    "first_at": {"$min": "$ended_at"},
                    "last_at": {"$max": "$ended_at"},
                }
            },
        ],
        maxTimeMS=QUERY_MS,
    ).to_list(None)
    return [
        {
            **about[key],
            **row,
            "_id": key[0],
            "hours": [{"hour": key[1], "count": row["count"]}],
        }
        for row in rows
        if (key := (row["_id"]["failure"], row["_id"]["hour"])) in about
    ]


def _add(found: dict[str, Any], group: dict[str, Any]) -> None:
    known = found.setdefault(group["_id"], group)
    if known is group:
        return
    known["count"] += group["count"]
    known["first_at"] = min(known["first_at"], group["first_at"])
    known["last_at"] = max(known["last_at"], group["last_at"])
    known["hours"] += group["hours"]


def _row(group: dict[str, Any], span: Span) -> dict[str, Any]:
    return {
        "failure": group["_id"],
        "task": group.get("task"),
        "error": group.get("error"),
        "count": group["count"],
        "first_at_ms": millis(group["first_at"]),
        "last_at_ms": millis(group["last_at"]),
        "per_hour": per_hour(group["hours"], span.last),
        "example": group.get("example", ""),
    }


def per_hour(hours: Iterable[dict[str, Any]], last: datetime) -> list[int]:
    """Return how many there were in each of 24 hours, the last one last."""
    found = [0] * HOURS
    for one in hours:
        ago = (last - one["hour"]) // _HOUR
        if 0 <= ago < HOURS:
            found[HOURS - 1 - ago] += one["count"]
    return found
