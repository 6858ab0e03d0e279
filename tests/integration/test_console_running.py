"""What runs now, of a fleet: few workers asked at a time, and one that fails costs no other."""

import time
import uuid

import pytest
import redis

from devstack import console as building
from penstock.wire.announcements import (
    RUNNING_PREFIX,
    WORKERS_KEY,
    RunningTask,
    SlotCounts,
    WorkerRecord,
    encode_running,
)
from tests.browsing.console import call, console_page
from tests.support.balancer import Balancer, unreachable
from tests.support.waiting import eventually

WORKERS = 25


@pytest.fixture(autouse=True, scope="module")
def _built():
    """Build before a gateway starts: it serves what it has read then."""
    assert building.build()


@pytest.fixture
def store(redis_url):
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture(autouse=True)
def _fleet(store):
    """Announce workers, each of which runs one task; how many slots are busy is their number."""
    soon = time.time() + 60
    for number in range(1, WORKERS + 1):
        name = f"celery@w{number:02}"
        counts = SlotCounts(slots=WORKERS, busy=number)
        record = WorkerRecord(
            worker=name, start="1", queues=("default",), tasks=("demo.add",), seen=soon,
            counts=counts, pool="threads",
        )  # fmt: skip
        store.hset(WORKERS_KEY, record.field, record.encode())
        one = RunningTask(
            task_id=str(uuid.uuid4()), task=f"of.w{number:02}", start=soon - 70, queue="default"
        )
        store.set(f"{RUNNING_PREFIX}{name}", encode_running([one]))


async def test_many_workers_asked_at_once_are_read_once(gateway, store):
    def reads():
        return store.info("commandstats").get("cmdstat_hgetall", {}).get("calls", 0)

    before = reads()
    for number in range(1, WORKERS + 1):
        found = await call(gateway, "GET", f"/v1/workers/celery@w{number:02}/tasks")
        assert [one["task"] for one in found["tasks"]] == [f"of.w{number:02}"]
    assert reads() - before < WORKERS // 2


async def test_the_busiest_are_asked_and_one_that_fails_costs_no_other(gateway):
    async with (
        Balancer(f"http://127.0.0.1:{gateway.port}") as balancer,
        console_page(balancer.url) as page,
    ):
        await page.open("/")
        await page.sees("of.w25", "#running")
        await page.sees("5 more workers are busy", "#running")
        assert "of.w05" not in await page.text("#running")
        assert not any("w05" in one for one in balancer.asked)

        balancer.answer = lambda request: unreachable(request) if "w25" in request.path else None
        await page.sees("This is as it was", "#running")
        asked = balancer.count("w24")
        await eventually(lambda: balancer.count("w24") > asked, 10)
        text = await page.text("#running")
        assert "of.w25" in text
        assert "of.w06" in text
