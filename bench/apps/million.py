"""A history of many tasks in MongoDB, as a week of a busy deployment leaves it.

`python -m bench.apps.million URL DATABASE TASKS FAILURES`: templates are made here, and MongoDB
makes copies of them, each with an id and times of its own.
"""

import asyncio
import json
import random
import sys
import time
from datetime import UTC, datetime
from typing import Any

from pymongo import AsyncMongoClient

from history.database import INDEXES
from history.grouping import failure_id
from history.writing.words import words_of

_TEMPLATES = 50_000
_AT_ONCE = 5_000
_WEEK_S, _DAY_S = 7 * 86_400, 86_400
_TEAMS = ("reports", "mail", "billing", "search", "media")
_VERBS = ("build", "send", "sync", "index", "clean", "fetch", "resize", "check")
NAMES = tuple(f"{team}.{verb}" for team in _TEAMS for verb in _VERBS)
RARE = "legacy.export"
"""A task of which there are few."""
KINDS = ("ValueError", "KeyError", "TimeoutError", "ConnectionError", "PermissionError")
_MESSAGES = (
    "no data for 'city{n}'", "timeout after {n} s", "customer {n} has no address",
    "row {n}: column 'total' is missing", "connection to shard{m} refused",
    "quota of tenant{m} exceeded",
)  # fmt: skip
_TRACEBACK = "Traceback (most recent call last):\n" + "".join(
    f'  File "/srv/app/tasks/module{n}.py", line {n}, in step{n}\n    return step{n}(value)\n'
    for n in range(12)
)


def template(number: int, failed: bool, pick: random.Random) -> dict[str, Any]:  # noqa: FBT001
    """Return a task: half a kilobyte, and two more where it failed."""
    task = RARE if number % 5_000 == 0 else pick.choice(NAMES)
    state = "FAILURE" if failed else pick.choice(("SUCCESS",) * 18 + ("REVOKED", "PENDING"))
    one: dict[str, Any] = {
        "_id": f"{number:07x}-0000-7000-8000",
        "task": task,
        "tenant": f"tenant{pick.randrange(20)}",
        "state": state,
        "queue": pick.choice(("default", "ranked", "coroutines")),
        "worker": f"celery@w{pick.randrange(40)}",
        "root": f"{number:07x}-0000-7000-8000",
        "ago_s": pick.uniform(0, _DAY_S if failed else _WEEK_S),
        "runtime_s": 0.25,
        "retries": 0,
        "source": "penstock",
        "changes": [{"c": "1-0", "state": "STARTED", "attempt": 0, "worker": "celery@w1"}] * 2,
    }
    if not failed:
        return {**one, "words": words_of((task,))}
    kind = pick.choice(KINDS)
    text = pick.choice(_MESSAGES)
    message = text.format(n=pick.randrange(1_000), m=pick.randrange(50))
    args = json.dumps([pick.randrange(1_000_000), f"name{pick.randrange(10_000)}"])
    return {
        **one,
        "error": {"type": kind, "message": message, "traceback": _TRACEBACK},
        "failure": failure_id(task, kind, message, _TRACEBACK),
        "request": {"args": args, "kwargs": "{}", "embed": "", "options": {"queue": "default"}},
        "words": words_of((task, kind, message, args)),
    }


async def fill(url: str, name: str, tasks: int, failures: int) -> dict[str, Any]:
    """Fill the collections, then make the indexes; return what they hold, and how long it took."""
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(url)
    database = client[name]
    tasks_, failures_ = database["tasks"], database["failures"]
    templates = database["templates"]
    pick = random.Random(5)
    started = time.monotonic()
    copies = max(1, tasks // _TEMPLATES)
    failed = failures // copies
    for start in range(0, tasks // copies, _AT_ONCE):
        await templates.insert_many(
            [template(n, n < failed, pick) for n in range(start, start + _AT_ONCE)]
        )
    now = datetime.now(UTC)
    # A copy is some minutes older than the one before it, within the day, or the week.
    span = {"$cond": [{"$eq": ["$state", "FAILURE"]}, _DAY_S, _WEEK_S]}
    ago_s = {"$mod": [{"$add": ["$ago_s", {"$multiply": ["$copy", 3677.7]}]}, span]}
    at = {"$subtract": [now, {"$multiply": [1000, ago_s]}]}
    copied = await templates.aggregate(
        [
            {"$set": {"copy": {"$range": [0, copies]}}},
            {"$unwind": "$copy"},
            {"$set": {"_id": {"$concat": ["$_id", "-", {"$toString": "$copy"}]}, "at": at}},
            {"$set": {"accepted_at": "$at", "started_at": "$at",
                      "ended_at": {"$add": ["$at", 250]}}},
            {"$unset": ["copy", "ago_s"]},
            {"$out": "tasks"},
        ],
        allowDiskUse=True,
    )  # fmt: skip
    await copied.to_list()
    hour = {"$dateTrunc": {"date": "$ended_at", "unit": "hour"}}
    for whose in ({"tenant": "$tenant"}, {"all": {"$literal": True}}):
        counted = await tasks_.aggregate(
            [
                {"$match": {"state": "FAILURE"}},
                {
                    "$group": {
                        "_id": {"failure": "$failure", **whose, "hour": hour},
                        "task": {"$last": "$task"},
                        "error": {"$last": {"type": "$error.type", "message": "$error.message"}},
                        "count": {"$sum": 1},
                        "first_at": {"$min": "$ended_at"},
                        "last_at": {"$max": "$ended_at"},
                        "example": {"$last": "$_id"},
                    }
                },
                {"$merge": "failures"},
            ],
            allowDiskUse=True,
        )
        await counted.to_list()
    filled_s = time.monotonic() - started
    for collection, indexes in INDEXES.items():
        await database[collection].create_indexes(list(indexes))
    stats = await database.command("collStats", "tasks")
    found = {
        "tasks": await tasks_.estimated_document_count(),
        "failures": await tasks_.count_documents({"state": "FAILURE"}),
        "groups": len(await failures_.distinct("_id.failure")),
        "counts": await failures_.estimated_document_count(),
        "filled_s": filled_s,
        "indexed_s": time.monotonic() - started - filled_s,
        "bytes": stats["size"],
        "stored_bytes": stats["storageSize"],
        "index_bytes": stats["totalIndexSize"],
        "now": now.timestamp(),
    }
    await templates.drop()
    await client.close()
    return found


if __name__ == "__main__":
    address, where, many, bad = sys.argv[1:]
    print(json.dumps(asyncio.run(fill(address, where, int(many), int(bad)))))
