"""Tasks that end their process, beside others that do not: each has its own end, on every pool."""

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from devstack.children import Child
from devstack.product import celerys_pool
from devstack.proxy import TcpProxy
from tests.deployment.workers import FINAL, Deployment
from tests.support.hostile import QUEUE, Hostile, publish, slots_work
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(240)
on_each_pool = pytest.mark.parametrize("pool", ["threads", "prefork", "asyncio"])
on_most_pools = pytest.mark.parametrize(
    "pool", [pytest.param("threads", marks=pytest.mark.long), "prefork", "asyncio"]
)
"""Threads are, like coroutines, one process that all tasks share."""

WAYS = ("exit", "exit in order", "abort", "kill")
DEATHS = 3


@pytest.fixture
def deployment(amqp_url: str, redis_url: str, tmp_path: Path) -> Deployment:
    return Deployment(amqp_url=amqp_url, redis_url=redis_url, folder=tmp_path)


@contextlib.asynccontextmanager
async def kept_worker(deployment: Deployment, pool: str, slots: int = 4) -> AsyncIterator[Child]:
    """Run a worker that is started again whenever it ends, as `make run` and compose do."""
    child = deployment.celery(
        "w", "worker", "-l", "info", "-n", "w@%h", "-P", celerys_pool(pool),
        "-c", str(slots), "-Q", QUEUE,
    )  # fmt: skip

    async def keep() -> None:
        while True:
            child.spawn()
            await child.wait()

    keeper = asyncio.create_task(keep())
    try:
        await eventually(lambda: child.running and b" ready." in child.logged(), 60)
        yield child
    finally:
        keeper.cancel()
        await child.stop(10)


async def all_end(deployment: Deployment, ids: list[str], timeout_s: float = 120) -> list[str]:
    """Wait for the ends of tasks, and return their states."""
    names = [f"celery-task-meta-{one}" for one in ids]

    def states() -> list[str] | None:
        found = [
            json.loads(text)["status"] if text else "" for text in deployment.redis.mget(names)
        ]
        return found if set(found) <= set(FINAL) else None

    found: list[str] = await eventually(states, timeout_s, 0.3)
    return found


def is_lost(deployment: Deployment, task_id: str) -> bool:
    record = deployment.record(task_id)
    return (record["status"], record["result"]["exc_type"]) == ("FAILURE", "WorkerLost")


@on_most_pools
async def test_a_thousand_neighbours_of_a_segfault_succeed(deployment: Deployment, pool: str):
    neighbours = [Hostile(args=[n, n]) for n in range(1000)]
    deadly = Hostile(headers={"task": "demo.end_process"}, args=["segfault", "segfault"])
    async with kept_worker(deployment, pool):
        publish(deployment, [*neighbours[:500], deadly, *neighbours[500:]])
        states = await all_end(deployment, [one.key for one in [*neighbours, deadly]])

    assert states[:-1] == ["SUCCESS"] * 1000
    assert is_lost(deployment, deadly.key)
    assert deployment.runs == ["segfault"] * DEATHS
    assert deployment.states(deadly.key) == ["STARTED"] * DEATHS + ["FAILURE"]
    assert deployment.depth(f"{QUEUE}.dead") == 0


def signature(task: str, *args: Any) -> dict[str, Any]:
    options = {"task_id": str(uuid.uuid4()), "queue": QUEUE}
    return {"task": task, "args": args, "kwargs": {}, "options": options, "immutable": True}


@on_each_pool
async def test_each_way_to_die_ends_the_task_and_tells_what_follows(
    deployment: Deployment, pool: str
):
    errback, follower = signature("demo.run", "told"), signature("demo.add", 1, 2)
    embed = {"errbacks": [errback], "chain": [follower]}
    deadly = [
        Hostile(headers={"task": "demo.end_process"}, args=[way, way], embed=embed if not n else {})
        for n, way in enumerate(WAYS)
    ]
    deadly.append(Hostile(headers={"task": "demo.end_process_later"}, args=["coroutine"]))
    unkept = Hostile(
        headers={"task": "demo.end_process", "ignore_result": True}, args=["unkept", "exit"]
    )
    async with kept_worker(deployment, pool, slots=len(deadly) + 1):
        publish(deployment, [*deadly, unkept])
        neighbours = [Hostile(args=[n, n]) for n in range(50)]
        publish(deployment, neighbours)
        follow = [one["options"]["task_id"] for one in (errback, follower)]
        states = await all_end(deployment, [one.key for one in [*deadly, *neighbours]] + follow)
        await eventually(lambda: deployment.depth(QUEUE) == 0, 30)
        await slots_work(deployment, len(deadly) + 1)

    assert all(is_lost(deployment, one.key) for one in deadly)
    assert states[len(deadly) :] == ["SUCCESS"] * (50 + 1) + ["FAILURE"]
    for one in deadly:
        *started, end = deployment.states(one.key)
        assert (set(started), end) == ({"STARTED"}, "FAILURE")
        # Where they share a process, the death under one is counted for the others that have begun.
        assert len(started) in ({DEATHS - 1, DEATHS} if pool == "asyncio" else {DEATHS})
    assert deployment.runs.count("told") == 1
    # On threads its first death is not known to be one: no state says that it had begun.
    assert deployment.runs.count("unkept") in {DEATHS, DEATHS + 1}
    assert deployment.depth(f"{QUEUE}.dead") == 0


@on_most_pools
async def test_whoever_kills_the_worker_does_not_charge_its_tasks(
    deployment: Deployment, pool: str
):
    long = Hostile(headers={"task": "demo.nap"}, args=["long", 2])
    dozing = Hostile(headers={"task": "demo.doze"}, args=["dozing", 600])
    async with kept_worker(deployment, pool) as child:
        publish(deployment, [long, dozing])
        for kills in range(DEATHS + 1):
            await eventually(partial(_have_begun, deployment, kills + 1), 60)
            if kills < DEATHS:
                await child.kill()
        record = await deployment.ended(long.key, 30)
        control = deployment.celery("control", "control", "penstock_terminate", dozing.key)
        control.spawn()
        assert await control.wait() == 0
        stopped = await deployment.ended(dozing.key, 30)
        await slots_work(deployment, 4)

    assert (record["status"], record["result"]) == ("SUCCESS", "long")
    assert stopped["status"] == "REVOKED"
    assert deployment.runs[-5:].count("dozing cancelled") == 1
    assert deployment.depth(QUEUE) == 0


def _have_begun(deployment: Deployment, times: int) -> bool:
    return all(deployment.runs.count(f"{mark} begins") == times for mark in ("long", "dozing"))


@on_most_pools
async def test_a_death_while_redis_is_away_is_not_the_end(
    deployment: Deployment, pool: str, tmp_path: Path
):
    """It is not counted, and the next one is."""
    file = tmp_path / "end"
    deadly = Hostile(headers={"task": "demo.end_process_when"}, args=["deadly", str(file)])
    alone = 3 if pool == "asyncio" else 2  # the run that has a process of its own
    async with TcpProxy(urlsplit(deployment.redis_url).port or 0) as proxy:
        deployment.env = {"REDIS_URL": proxy.url_through(deployment.redis_url)}
        async with kept_worker(deployment, pool) as child:
            publish(deployment, [deadly])
            for run in range(1, alone + 1):
                await eventually(partial(_has_run, deployment, run), 60)
                if run == alone:
                    proxy.cut(refuse=True)
                _let_die(file, run)
            await eventually(lambda: b"not counted" in child.logged(), 30)
            for run in range(alone + 1, DEATHS + 2):
                _let_die(file, run)
            proxy.resume()
            await all_end(deployment, [deadly.key])

    assert is_lost(deployment, deadly.key)
    assert deployment.runs.count("deadly") == DEATHS + 1


def _let_die(file: Path, run: int) -> None:
    Path(f"{file}-{run}").touch()


def _has_run(deployment: Deployment, times: int) -> bool:
    return deployment.runs.count("deadly") >= times
