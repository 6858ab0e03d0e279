"""What history may take, which process writes, and what it says of itself."""

import re
import uuid
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest

from devstack.ports import free_port
from history.database import Database
from history.serving import running
from history.writing.bounds import Bounds
from history.writing.counting import Counting
from history.writing.lease import Lease
from penstock.wire.records import error_record
from tests.integration.history_writing.conftest import writing_history
from tests.support.waiting import eventually


async def test_beyond_the_bound_the_oldest_go_first(history, kept):
    start = datetime(2026, 1, 1, tzinfo=UTC)
    await kept.database["tasks"].insert_many(
        [{"_id": str(n), "at": start + timedelta(seconds=n), "x": "x" * 1000} for n in range(500)]
    )
    size = (await kept.database.command("collStats", "tasks"))["size"]
    bounds = Bounds(history.database, history.lease, size // 2, (), 0.1)
    await bounds.looper.once()

    left = [one["_id"] async for one in kept.database["tasks"].find({}, {"_id": 1}).sort("at", 1)]
    assert left == [str(n) for n in range(500 - len(left), 500)]
    assert 220 <= len(left) <= 245
    assert bounds.deleted == 500 - len(left)


async def test_of_counts_of_failures_the_oldest_go_beyond_a_quarter(history, kept):
    start = datetime(2100, 1, 1, tzinfo=UTC)  # none has expired
    hours = [start + timedelta(hours=n) for n in range(400)]
    await kept.database["failures"].insert_many(
        [{"_id": {"all": True, "hour": one}, "expires_at": one, "x": "x" * 1000} for one in hours]
    )
    await kept.database["tasks"].insert_many(
        [{"_id": str(n), "at": start + timedelta(seconds=n), "x": "x" * 1000} for n in range(100)]
    )
    size = (await kept.database.command("collStats", "failures"))["size"]
    bounds = Bounds(history.database, history.lease, size, (), 0.1)
    await bounds.looper.once()

    left = [
        one["_id"]["hour"] async for one in kept.database["failures"].find().sort("_id.hour", 1)
    ]
    assert left == hours[400 - len(left) :]
    assert 90 <= len(left) <= 100
    assert await kept.database["tasks"].count_documents({}) == 100  # there is room for them
    await bounds.looper.once()
    assert bounds.size < size
    assert bounds.deleted == 400 - len(left)


async def test_of_two_processes_one_writes_and_the_other_takes_over(config, worker, kept):
    async with writing_history(config) as first:
        other = replace(config, port=free_port())
        async with running(other) as second:
            await eventually(lambda: second.lease.elsewhere, 10)
            assert first.lease.held
            assert not second.lease.held
            assert second.lag_s is None
            task_id = str(uuid.uuid4())
            await worker.start(task_id)
            await kept.until(task_id, state="STARTED")
            await first.lease.release()
            first.lease.looper.interval_s = 60
            await eventually(lambda: second.lease.held, 10)
            await worker.store(task_id, "SUCCESS", 1)
            await kept.until(task_id, state="SUCCESS")


async def test_failures_are_counted_once_by_group_and_hour(history, worker, kept):
    for number in range(7):
        task_id = str(uuid.uuid4())
        await worker.start(task_id)
        error = error_record("ValueError", f"bad row {number}", "builtins")
        await worker.store(
            task_id, "FAILURE", error if number < 5 else {**error, "type": "OSError"}
        )

    async def counted():
        found = [one async for one in kept.database["failures"].find({"_id.all": None})]
        return Counter({one["error"]["type"]: one["count"] for one in found}) == {
            "ValueError": 5,
            "OSError": 2,
        }

    async def unmarked():
        return not await kept.database["tasks"].count_documents({"uncounted": True})

    await eventually(counted, 10)
    await eventually(unmarked, 10)


async def test_it_says_how_far_behind_it_is(history, config):
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{config.port}/metrics") as answer,
    ):
        text = await answer.text()

    lag = re.compile(r'^penstock_history_lag_seconds\{stream="changes"\} (\S+)', re.MULTILINE)
    found = lag.search(text)
    assert found
    assert 0 <= float(found[1]) < 2
    assert "penstock_history_writes 1.0" in text


async def test_a_round_of_counting_that_is_done_again_after_a_crash_adds_nothing(
    config, kept, request
):
    database = Database(config.mongo_url, config.database)
    request.addfinalizer(database.close)
    await database.prepare()
    counting = Counting(database, Lease(database, ()), 7, ())
    ended = datetime(2026, 1, 1, 10, 30, tzinfo=UTC)
    failed = {"failure": "f", "tenant": "a", "task": "t", "cursor": "1-0", "ended_at": ended}
    await kept.database["tasks"].insert_many(
        [{"_id": str(n), **failed, "uncounted": True} for n in range(3)]
    )
    written = await begun_round(counting, kept)
    await kept.database["positions"].update_one({"_id": "counting"}, {"$set": written})
    await kept.database["tasks"].update_many({}, {"$set": {"uncounted": True}})

    assert await counting.count() == 3
    assert await counting.count() == 0
    groups = [one async for one in kept.database["failures"].find({"_id.all": None})]
    assert [one["count"] for one in groups] == [3]
    assert groups[0]["_id"] == {"failure": "f", "tenant": "a", "hour": ended.replace(minute=0)}


@pytest.mark.parametrize(
    ("task_id", "task", "message"),
    [("", "demo.add", "x" * 4096), ("😀" * 400, "😀" * 500, "😀" * 400)],
)
async def test_failures_of_which_none_is_like_another_are_counted_however_long(
    config, kept, request, task_id, task, message
):
    database = Database(config.mongo_url, config.database)
    request.addfinalizer(database.close)
    await database.prepare()
    counting = Counting(database, Lease(database, ()), 7, ())
    failed = {
        "tenant": "a", "task": task, "cursor": "1-0", "uncounted": True,
        "ended_at": datetime(2026, 1, 1, 10, 30, tzinfo=UTC),
        "error": {"type": "E", "message": message, "traceback": "T" * 1000},
    }  # fmt: skip
    await kept.database["tasks"].insert_many(
        [{"_id": f"{n}{task_id}", "failure": f"f{n}", **failed} for n in range(2_000)]
    )

    while await counting.count():
        pass

    assert await kept.database["failures"].count_documents({"count": 1}) == 4_000
    [group] = [one async for one in kept.database["failures"].find({"_id.failure": "f7"}).limit(1)]
    assert group["error"] == {"type": "E", "message": message[:300]}
    assert not await kept.database["tasks"].count_documents({"uncounted": True})


async def begun_round(counting, kept):
    """Count, and return what was written down of the round before its end."""
    seen = []
    add = counting._add

    async def noting(number, groups):
        seen.append(await kept.database["positions"].find_one({"_id": "counting"}))
        await add(number, groups)

    counting._add = noting
    assert await counting.count() == 3
    counting._add = add
    return {name: seen[0][name] for name in ("round", "ids", "groups")}
