"""Announcing into a real Redis."""

import asyncio
import json
import time
from collections.abc import Iterator

import pytest
from redis import Redis

from devstack.redis_server import Redis as RedisServer
from penstock.wire.announcements import (
    CATALOG_KEY,
    WORKERS_KEY,
    RunningTask,
    SlotCounts,
    WorkerRecord,
    decode_worker,
)
from penstock.worker.consuming.announce import Announcer
from penstock.worker.consuming.presence import Presence
from penstock.worker.consuming.signatures import describe
from penstock.worker.redis_client import sync_client
from penstock.worker.running.task_function import TaskFunction
from tasks.registry import TASKS
from tests.support.waiting import eventually

DESCRIBED = [
    describe(spec.name, TaskFunction.of(spec.run, takes_self=False), "1") for spec in TASKS
]


class Slots:
    """Slots of a worker that has none."""

    def counts(self) -> SlotCounts:
        return SlotCounts()

    def running(self) -> list[RunningTask]:
        return []


@pytest.fixture
def client(redis_url: str) -> Iterator[Redis]:
    with sync_client(redis_url) as client:
        yield client


def announced(client: Redis) -> dict[str, float]:
    """When each entry was last seen."""
    entries = [json.loads(value) for value in client.hvals(CATALOG_KEY)]
    return {entry["task"]: entry["seen"] for entry in entries}


async def test_tasks_are_announced_at_once_and_withdrawn_at_the_end(client: Redis):
    before = time.time()
    announcer = Announcer(client, DESCRIBED)

    announcer.announce(0)
    await eventually(lambda: len(announced(client)) == len(TASKS))
    assert all(before <= seen <= time.time() for seen in announced(client).values())
    announcer.stop()

    assert announced(client) == {}


def test_an_entry_that_another_worker_keeps_alive_stays(client: Redis):
    leaving, staying = Announcer(client, DESCRIBED), Announcer(client, DESCRIBED)
    leaving.refresh()
    staying.refresh()
    leaving.refresh()

    leaving.withdraw()
    assert len(announced(client)) == len(TASKS)


def test_an_entry_that_was_refreshed_by_another_worker_since_stays(client: Redis):
    leaving, staying = Announcer(client, DESCRIBED), Announcer(client, DESCRIBED)
    leaving.refresh()
    staying.refresh()

    leaving.withdraw()

    assert len(announced(client)) == len(TASKS)


def test_two_releases_are_announced_side_by_side(client: Redis):
    def changed(x: str) -> None:
        """Take another argument."""

    old, new = (
        DESCRIBED[:1],
        [describe(DESCRIBED[0].task, TaskFunction.of(changed, takes_self=False), "2")],
    )
    Announcer(client, old).refresh()
    Announcer(client, new).refresh()

    assert client.hlen(CATALOG_KEY) == 2


async def test_announcing_goes_on_after_redis_was_killed_and_lost_everything(
    redis_server: RedisServer, client: Redis
):
    announcer = Announcer(client, DESCRIBED, refresh_s=0.2)
    announcer.announce(0)
    await eventually(lambda: len(announced(client)) == len(TASKS))

    await redis_server.kill()
    await redis_server.start()
    with sync_client(redis_server.url) as fresh:
        fresh.flushall()
        await eventually(lambda: len(announced(fresh)) == len(TASKS), timeout_s=20)
        announcer.stop()
        assert announced(fresh) == {}


async def test_a_worker_that_stops_while_redis_starts_again_takes_leave(
    redis_server: RedisServer, client: Redis
):
    record = WorkerRecord(worker="w@host", start="1", queues=(), tasks=(), seen=0)
    presence = Presence(client, record, lambda: ("default",), Slots(), time.time)
    announcer = Announcer(client, DESCRIBED, presence)
    assert announcer.announce(10)
    assert not decode_worker(client.hvals(WORKERS_KEY)[0]).left
    await redis_server.kill()
    await eventually(lambda: announcer.faults.failing, timeout_s=20)

    attempts = announcer.faults.count
    stopping = asyncio.create_task(asyncio.to_thread(announcer.stop, 60))
    await eventually(lambda: announcer.faults.count > attempts + 2 or stopping.done(), timeout_s=20)
    await redis_server.start()
    await stopping

    [written] = client.hvals(WORKERS_KEY)
    assert decode_worker(written).left
    assert announced(client) == {}


async def test_announcing_survives_keys_of_another_type(client: Redis):
    client.set(CATALOG_KEY, "text")
    announcer = Announcer(client, DESCRIBED)
    assert not announcer.announce(0.3)
    await eventually(lambda: announcer.faults.count > 2)
    failing = announcer.faults.failing
    assert failing is not None
    assert "WRONGTYPE" in failing.error

    client.delete(CATALOG_KEY)

    await eventually(lambda: client.hgetall(CATALOG_KEY), timeout_s=5)
    await eventually(lambda: announcer.faults.failing is None)
    announcer.stop()


def test_stopping_ends_in_time_while_redis_is_away():
    announcer = Announcer(sync_client("redis://127.0.0.1:9/0"), DESCRIBED)
    started = time.monotonic()

    announcer.announce(0)
    announcer.stop(timeout_s=1)

    assert time.monotonic() - started < 3
