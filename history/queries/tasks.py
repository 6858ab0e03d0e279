"""Tasks: pages of them newest first, and one with its changes and its request."""

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from history.keys import DATABASE
from history.queries.asked import QUERY_MS, answered, asked, number_of, tenant_of, text_of, where_of
from history.queries.filters import millis, mongo_filter
from history.queries.places import NEWEST_FIRST, behind, place_of

MOST = 500
"""Tasks of one page."""
_ROW = dict.fromkeys(
    (
        "task", "tenant", "state", "queue", "worker", "root", "parent", "retried_from", "retries",
        "at", "accepted_at", "due_at", "started_at", "ended_at", "runtime_s", "waited_s", "error",
        "failure",
    ),
    1,
)  # fmt: skip
_TIMES = ("at", "accepted_at", "due_at", "started_at", "ended_at", "changed_at")


async def page(request: web.Request) -> web.Response:
    """Return tasks of a filter, newest first, and the place behind them."""
    body = await asked(request)
    limit = number_of(body, "limit", 1, MOST)
    tasks = request.app[DATABASE].tasks
    wanted = await mongo_filter(where_of(body), tasks)
    if (place := body.get("behind")) is not None:
        wanted = behind(wanted, place)
    found = (
        await tasks.find(wanted, _ROW)
        .sort(NEWEST_FIRST)
        .limit(limit + 1)
        .max_time_ms(QUERY_MS)
        .to_list(limit + 1)
    )
    rows = found[:limit]
    more = len(found) > limit
    following = place_of(rows[-1]) if more else None
    return answered({"tasks": [shown(one) for one in rows], "next": following})


async def one(request: web.Request) -> web.Response:
    """Return all of one task; null where there is none of that tenant."""
    body = await asked(request)
    wanted: dict[str, Any] = {"_id": text_of(body, "id")}
    if (tenant := tenant_of(body)) is not None:
        wanted["tenant"] = tenant
    tasks = request.app[DATABASE].tasks
    found = await tasks.find_one(wanted, {"words": 0}, max_time_ms=QUERY_MS)
    return answered({"task": None if found is None else shown(found)})


def shown(task: Mapping[str, Any]) -> dict[str, Any]:
    """Return a task as gateways read it: times in milliseconds, without what is not known."""
    found = {name: value for name, value in task.items() if value is not None}
    found["id"] = found.pop("_id")
    for name in _TIMES:
        if name in found:
            found[f"{name}_ms"] = millis(found.pop(name))
    if "changes" in found:
        found["changes"] = [_change(each) for each in found["changes"]]
    return found


def _change(change: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: value for name, value in change.items() if value is not None and name != "c"}
    if "at" in found:
        found["at_ms"] = millis(found.pop("at"))
    return found
