"""Faults around the writer: its own death, MongoDB away, a stream that was trimmed."""

import asyncio
import uuid
from collections import Counter
from datetime import UTC, datetime

import pytest
import redis.asyncio
from pymongo.uri_parser import parse_uri

from devstack.ports import free_port
from devstack.product import Launcher
from penstock.wire.keys import (
    HISTORY_ACCEPTED,
    HISTORY_ACCEPTED_LENGTH,
    HISTORY_CHANGES,
    HISTORY_CHANGES_LENGTH,
    HISTORY_LARGE_REQUESTS,
    HISTORY_LARGE_REQUESTS_LENGTH,
    HISTORY_REQUESTS,
    HISTORY_REQUESTS_LENGTH,
)
from penstock.wire.records import error_record
from tests.integration.history_writing.conftest import writing_history
from tests.support.waiting import eventually

TASKS = 600
BOUNDS = {
    HISTORY_CHANGES: (HISTORY_CHANGES_LENGTH, "k"),
    HISTORY_ACCEPTED: (HISTORY_ACCEPTED_LENGTH, "a"),
    HISTORY_REQUESTS: (HISTORY_REQUESTS_LENGTH, "r"),
    HISTORY_LARGE_REQUESTS: (HISTORY_LARGE_REQUESTS_LENGTH, "r"),
}
"""What each stream holds, and the field of its entries. The last two have never had one."""
FILL = """for _ = 1, ARGV[1] do
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', ARGV[3], '')
end"""
FILLED_AT_ONCE = 20_000
"""Entries of one script, during which Redis answers nobody."""
LATER = datetime.fromtimestamp(1, UTC)
"""Of gaps beside the first, which stands for the time before there was a history."""


@pytest.fixture
def process(redis_url, mongo_url, tmp_path):
    """`python -m history` as a process of its own."""
    env = {
        "REDIS_URL": redis_url,
        "MONGO_URL": mongo_url,
        "HISTORY_DATABASE": parse_uri(mongo_url)["database"],
        "HISTORY_EVENTS": "0",
    }
    return Launcher(env=env, logs=tmp_path).history(free_port())


@pytest.fixture
async def client(redis_url):
    async with redis.asyncio.from_url(redis_url) as client:
        yield client


async def run_tasks(worker, count, *, each=None):
    """Run tasks, every third of which fails; return their ids and states."""
    ends = {}
    for number in range(count):
        task_id = str(uuid.uuid4())
        await worker.start(task_id)
        if number % 3:
            await worker.store(task_id, "SUCCESS", number)
        else:
            await worker.store(
                task_id, "FAILURE", error_record("ValueError", f"bad {number}", "builtins")
            )
        ends[task_id] = "SUCCESS" if number % 3 else "FAILURE"
        if each is not None:
            await each(number)
    return ends


async def check_all(kept, ends):
    """Wait until every task has its end, and nothing is there twice."""

    async def complete():
        found = {one["_id"]: one async for one in kept.database["tasks"].find({})}
        assert len(found) == len(ends)
        assert Counter(found[one]["state"] for one in ends) == Counter(ends.values())
        return found

    found = await eventually(complete, 30, 0.1)
    for task_id, state in ends.items():
        assert [change["state"] for change in found[task_id]["changes"]] == ["STARTED", state]

    async def counted():
        for whose in ({"_id.tenant": None, "_id.all": None}, {"_id.all": True}):
            groups = [one["count"] async for one in kept.database["failures"].find(whose)]
            assert sum(groups) == Counter(ends.values())["FAILURE"], groups
        return True

    await eventually(counted, 15, 0.1)


async def test_a_writer_that_is_killed_repeats_nothing_and_misses_nothing(process, worker, kept):
    await process.start()
    try:

        async def kill_now_and_then(number):
            if number in {150, 400}:
                await process.kill()
                await process.start()

        ends = await run_tasks(worker, TASKS, each=kill_now_and_then)
        await check_all(kept, ends)
    finally:
        await process.stop()
    gaps = [gap async for gap in kept.database["gaps"].find({"from": {"$gt": LATER}})]
    assert gaps == []


async def test_with_mongodb_away_nothing_is_lost(history, worker, kept, mongo):
    ends = await run_tasks(worker, 50)
    await check_all(kept, ends)
    await mongo.kill()
    ends |= await run_tasks(worker, 300)
    await asyncio.wait_for(mongo.start(), 30)

    await check_all(kept, ends)
    assert await kept.database["gaps"].count_documents({"filled": None}) == 0


async def test_what_was_trimmed_is_a_gap_that_is_filled(config, worker, kept, client):
    async with writing_history(config):
        ends = await run_tasks(worker, 30)
        await check_all(kept, ends)
    ends |= await run_tasks(worker, 60)
    await client.xtrim(HISTORY_CHANGES, 0, approximate=False)
    ends |= await run_tasks(worker, 30)
    assert await kept.database["tasks"].count_documents({}) == 30

    async with writing_history(config):
        await check_all(kept, ends)

        async def filled():
            gaps = [gap async for gap in kept.database["gaps"].find({"from": {"$gt": LATER}})]
            assert len(gaps) == 1
            return gaps[0]["filled"] and gaps[0]

        gap = await eventually(filled, 10)
    assert gap["stream"] == HISTORY_CHANGES
    assert gap["from"] < gap["to"] <= gap["filled"]


async def test_streams_that_overflow_without_mongodb_are_gaps_and_states_are_whole_again(
    history, worker, kept, mongo, client
):
    ends = await run_tasks(worker, 30)
    await check_all(kept, ends)
    await mongo.kill()
    ends |= await run_tasks(worker, 60)
    for stream, (length, field) in BOUNDS.items():
        for first in range(0, length + 500, FILLED_AT_ONCE):
            count = min(FILLED_AT_ONCE, length + 500 - first)
            await client.eval(FILL, 1, stream, count, length, field)
    ends |= await run_tasks(worker, 30)
    await asyncio.wait_for(mongo.start(), 30)

    async def whole():
        found = {one["_id"]: one["state"] async for one in kept.database["tasks"].find({})}
        assert found.items() >= ends.items(), len(ends.items() - found.items())
        return True

    await eventually(whole, 90, 0.2)

    async def named():
        gaps = [gap async for gap in kept.database["gaps"].find({"from": {"$gt": LATER}})]
        assert {gap["stream"]: bool(gap["filled"]) for gap in gaps} == {
            stream: stream == HISTORY_CHANGES for stream in BOUNDS
        }
        assert len(gaps) == len(BOUNDS)
        return True

    await eventually(named, 30, 0.2)
    assert history.gaps.found == len(BOUNDS)


async def test_the_stream_is_trimmed_to_what_is_not_read(history, worker, kept, client):
    await check_all(kept, await run_tasks(worker, 30))

    async def short():
        return await client.xlen(HISTORY_CHANGES) <= 1

    await eventually(short, 10)


async def test_without_a_history_process_scripts_write_nothing(worker, client):
    await run_tasks(worker, 3)

    assert not await client.exists(HISTORY_CHANGES)


async def test_the_first_start_reads_what_redis_knows_already(process, worker, kept):
    ends = await run_tasks(worker, 20)
    await process.start()
    try:
        await check_all(kept, ends)
    finally:
        await process.stop()
