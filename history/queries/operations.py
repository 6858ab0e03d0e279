"""Long operations of gateways: their tasks, written down before anything is done to them.

operations        _id, kind, who, tenant, rate, terminate, at, matched, without_request, unknown
operation_items   _id: {op, n}, task_id, tenant, new_id, state, code

    waiting ──assign: new_id──► waiting ──settle──► done | failed (code)

Any gateway goes on with what waits, under the ids that were stored. What waits for longer than
operations are kept is kept on: it is renewed once a day by what takes of it.
"""

from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from aiohttp import web
from pymongo import InsertOne, UpdateOne, WriteConcern

from history.database import Database, Documents
from history.keys import CONFIG, DATABASE
from history.queries.asked import QUERY_MS, answered, asked, number_of, text_of
from history.queries.selections import COUNT_MS, Counted, Selection
from penstock.wire.history_queries import MASKED, NO_REQUEST, NOT_ENDED, RETRY
from penstock.wire.records import FINAL

MOST_TAKEN: Final = 1000
TAKEN_BYTES: Final = 4 * 1024 * 1024
"""Requests of one answer, about."""
_KEPT: Final = timedelta(days=7)
"""How long an operation is kept, at least; one that is not done, for as long as it is renewed."""
_RENEWED: Final = timedelta(days=1)
"""When it is renewed: its items are many."""
_SAFE: Final = WriteConcern(w="majority", j=True, wtimeout=10_000)
_AT_ONCE: Final = 50
"""Requests that are read together."""
_COUNTED: Final = [one.name for one in fields(Counted)]
_REQUEST: Final = ("task", "tenant", "state", "request", "masked")


async def count(request: web.Request) -> web.Response:
    """Return how many tasks an operation would be about."""
    body = await asked(request)
    selection = Selection.from_json(body, known_only=text_of(body, "kind") == RETRY)
    counted = await selection.count(request.app[DATABASE].tasks)
    return answered(counted.to_json())


async def begin(request: web.Request) -> web.Response:
    """Write down an operation and its tasks; one that is written down stays as it is."""
    body = await asked(request)
    operation, kind = text_of(body, "id"), text_of(body, "kind")
    selection = Selection.from_json(body, known_only=kind == RETRY)
    database = request.app[DATABASE]
    now = datetime.now(UTC)
    expires_at = now + _kept(request)
    items = _items(database)
    written = await database.operations.find_one({"_id": operation}, max_time_ms=QUERY_MS)
    if written is not None:
        return answered({name: written[name] for name in _COUNTED})
    await items.delete_many({"_id.op": operation})  # of a try that did not come to its end
    matched = without = unknown = 0
    async for page in selection.pages(database.tasks, now):
        writes = [
            InsertOne(
                {
                    "_id": {"op": operation, "n": matched + n},
                    "task_id": task["_id"],
                    "tenant": task.get("tenant"),
                    "new_id": None,
                    "state": "waiting",
                    "expires_at": expires_at,
                }
            )
            for n, task in enumerate(page)
        ]
        if writes:
            await items.bulk_write(writes, ordered=False)
        matched += len(page)
        without += sum(not task.get("kept") for task in page)
        unknown += sum("kept" not in task for task in page)
    if selection.ids and selection.known_only:
        unknown = len(selection.ids) - matched
    counted = Counted(matched=matched, without_request=without, unknown=unknown)
    await database.operations.with_options(write_concern=_SAFE).insert_one(
        {
            "_id": operation,
            "kind": kind,
            "who": text_of(body, "who"),
            "tenant": text_of(body, "tenant"),
            "rate": body.get("rate"),
            "terminate": bool(body.get("terminate")),
            "at": now,
            "expires_at": expires_at,
            **counted.to_json(),
        }
    )
    return answered(counted.to_json())


async def take(request: web.Request) -> web.Response:
    """Return the next tasks that wait, each with its request, and how far the operation is."""
    body = await asked(request)
    operation = text_of(body, "id")
    most = number_of(body, "most", 0, MOST_TAKEN)
    database = request.app[DATABASE]
    known = await database.operations.find_one({"_id": operation}, max_time_ms=QUERY_MS)
    if known is None:
        return answered({"items": None})
    waiting = await _waiting(database, operation, most) if most else []
    if waiting and known["expires_at"] - datetime.now(UTC) < _kept(request) - _RENEWED:
        await _renew(database, operation, datetime.now(UTC) + _kept(request))
    items: list[dict[str, Any]] = []
    size = 0
    for start in range(0, len(waiting), _AT_ONCE):
        some = waiting[start : start + _AT_ONCE]
        tasks = await _tasks(database, [one["task_id"] for one in some], known["kind"])
        items += [_item(one, tasks.get(one["task_id"]), known["kind"]) for one in some]
        size += sum(_size(task) for task in tasks.values())
        if size > TAKEN_BYTES:
            break
    return answered(
        {
            "items": items,
            "rate": known.get("rate"),
            "who": known["who"],
            "terminate": known.get("terminate", False),
            "tenant": known["tenant"],
            **await _progress(database, operation),
        }
    )


async def assign(request: web.Request) -> web.Response:
    """Store new ids of tasks that have none, and return those that count."""
    body = await asked(request)
    operation, ids = text_of(body, "id"), _by_number(body, "ids")
    items = _items(request.app[DATABASE])
    writes = [
        UpdateOne({"_id": {"op": operation, "n": n}, "new_id": None}, {"$set": {"new_id": new_id}})
        for n, new_id in ids.items()
    ]
    if writes:
        await items.bulk_write(writes, ordered=False)
    stored = await items.find(
        {"_id": {"$in": [{"op": operation, "n": n} for n in ids]}}, {"new_id": 1}
    ).to_list(None)
    return answered({"ids": {str(one["_id"]["n"]): one["new_id"] for one in stored}})


async def settle(request: web.Request) -> web.Response:
    """Store what became of tasks, and return how far the operation is."""
    body = await asked(request)
    operation, ends = text_of(body, "id"), _by_number(body, "ends")
    database = request.app[DATABASE]
    writes = [
        UpdateOne(
            {"_id": {"op": operation, "n": n}, "state": "waiting"},
            {"$set": {"state": "done"} if code is None else {"state": "failed", "code": code}},
        )
        for n, code in ends.items()
    ]
    if writes:
        await _items(database).bulk_write(writes, ordered=False)
    return answered(await _progress(database, operation))


def _kept(request: web.Request) -> timedelta:
    return max(_KEPT, timedelta(days=request.app[CONFIG].days))


async def _renew(database: Database, operation: str, expires_at: datetime) -> None:
    """Keep an operation until then; cut off in the middle, the next who takes does it again."""
    later = {"$set": {"expires_at": expires_at}}
    sooner = {"_id.op": operation, "expires_at": {"$lt": expires_at - _RENEWED}}
    await database.operation_items.update_many(sooner, later)
    await database.operations.update_one({"_id": operation}, later)


def _items(database: Database) -> Documents:
    return database.operation_items.with_options(write_concern=_SAFE)


def _by_number(body: Mapping[str, Any], name: str) -> dict[int, Any]:
    """Return a member that is keyed by the numbers of items.

    Raises:
        ValueError: It is something else.
    """
    found = body.get(name)
    if not isinstance(found, dict) or len(found) > MOST_TAKEN:
        raise ValueError(f"{name} is no object, or too large")
    return {int(n): value for n, value in found.items()}


async def _waiting(database: Database, operation: str, most: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = await (
        database.operation_items.find({"_id.op": operation, "state": "waiting"})
        .sort("_id.n", 1)
        .limit(most)
        .max_time_ms(QUERY_MS)
        .to_list(most)
    )
    return found


def _item(one: dict[str, Any], task: dict[str, Any] | None, kind: str) -> dict[str, Any]:
    """Return a task of an operation as gateways read it; `code`: nothing can be done about it."""
    found = {"n": one["_id"]["n"], "id": one["task_id"], "new_id": one["new_id"]}
    if task is not None:
        found |= {name: task[name] for name in _REQUEST if name in task}
    if kind == RETRY and (task is None or "args" not in task.get("request", {})):
        found["code"] = NO_REQUEST
    elif kind == RETRY and found.get("masked"):
        found["code"] = MASKED
    elif kind == RETRY and found["state"] not in FINAL:
        found["code"] = NOT_ENDED
    return found


def _size(task: Mapping[str, Any]) -> int:
    request = task.get("request", {})
    return sum(len(request.get(name) or "") for name in ("args", "kwargs", "embed"))


async def _tasks(database: Database, ids: list[str], kind: str) -> dict[str, dict[str, Any]]:
    names = _REQUEST if kind == RETRY else ("task", "tenant", "state")
    found = database.tasks.find({"_id": {"$in": ids}}, dict.fromkeys(names, 1))
    return {one["_id"]: one for one in await found.max_time_ms(QUERY_MS).to_list(None)}


async def _progress(database: Database, operation: str) -> dict[str, Any]:
    """Return how many were done, and failed, and why."""
    items = database.operation_items
    done = await items.count_documents({"_id.op": operation, "state": "done"}, maxTimeMS=COUNT_MS)
    codes = await items.aggregate(
        [
            {"$match": {"_id.op": operation, "state": "failed"}},
            {"$group": {"_id": "$code", "count": {"$sum": 1}}},
        ],
        maxTimeMS=COUNT_MS,
    ).to_list(None)
    refusals = {str(one["_id"]): one["count"] for one in codes}
    return {"done": done, "failed": sum(refusals.values()), "refusals": refusals}
