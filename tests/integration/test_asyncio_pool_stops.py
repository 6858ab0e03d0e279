"""Workers with the asyncio pool that are told to stop, are killed, or are told what they refuse."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from devstack.children import Child
from devstack.proxy import TcpProxy
from devstack.redis_server import Redis
from tests.deployment.workers import Deployment
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(180)
RUNNING = 100
MANY = 1000
ROOM = 1000
_slow = pytest.mark.long
both = pytest.mark.parametrize("app", ["ours", "stock"])
ours_first = pytest.mark.parametrize("app", ["ours", pytest.param("stock", marks=_slow)])
stock_first = pytest.mark.parametrize("app", ["stock", pytest.param("ours", marks=_slow)])


class Deployed(Deployment):
    """Publishes to the queue of the app."""

    def submit(self, task: str, *args: Any, **options: Any) -> str:
        way: dict[str, Any] = {}
        if self.app.endswith("stock_app"):
            way = {"exchange": "", "routing_key": "stock"}
        return self.publish(f"demo.co_{task}", args, **way, **options)

    @property
    def queue(self) -> str:
        return "stock" if self.app.endswith("stock_app") else "default"

    def begun(self) -> int:
        return sum(one.endswith(" begins") for one in self.runs)

    def at_once(self, *arguments: str, **options: Any) -> Any:
        options = {"concurrency": ROOM, **options}
        return self.worker("asyncio", "-Q", self.queue, *arguments, **options)

    def states_of(self, ids: list[str]) -> Counter[str]:
        return Counter(self.record(one).get("status", "") for one in ids)

    async def all_succeed(self, ids: list[str], timeout_s: float = 60) -> None:
        def done() -> bool:
            states = self.states_of(ids)
            assert states == {"SUCCESS": len(ids)}, states
            return True

        await eventually(done, timeout_s, 0.2)


@pytest.fixture
def app() -> str:
    return "ours"


@pytest.fixture
def deployment(amqp_url: str, redis_url: str, tmp_path: Path, app: str) -> Deployed:
    module = "asyncio_app" if app == "ours" else "asyncio_stock_app"
    return Deployed(
        amqp_url=amqp_url, redis_url=redis_url, folder=tmp_path, app=f"tests.apps.{module}",
        env={"LATE": "1", "SLOT_GRACE_S": "1"},
    )  # fmt: skip


async def ended(child: Child, timeout_s: float = 30) -> int | None:
    await eventually(lambda: child.returncode is not None, timeout_s)
    return child.returncode


@ours_first
async def test_a_warm_shutdown_lets_all_end(deployment: Deployed):
    async with deployment.at_once() as worker:
        with deployment.publishing():
            ids = [deployment.submit("doze", f"warm {n}", 4) for n in range(RUNNING)]
        await eventually(lambda: deployment.begun() == RUNNING, 20)
        worker.child.signal(signal.SIGTERM)
        await eventually(lambda: b"Warm shutdown" in worker.child.logged())
        worker.child.signal(signal.SIGTERM)
        assert await ended(worker.child) == 0
    assert deployment.states_of(ids) == {"SUCCESS": RUNNING}
    assert deployment.depth(deployment.queue) == 0
    assert deployment.begun() == RUNNING


@both
async def test_a_worker_that_has_stopped_does_not_wait_for_threads(deployment: Deployed):
    async with deployment.at_once() as worker:
        left = deployment.submit("leaves_thread", "left")
        assert (await deployment.ended(left))["status"] == "SUCCESS"
        worker.child.signal(signal.SIGTERM)
        assert await ended(worker.child) == 0
        assert b"without a thread that runs on: asyncio_0" in worker.child.logged()
    assert deployment.runs == ["left at exit"]


@stock_first
async def test_a_cold_shutdown_gives_all_back(deployment: Deployed):
    async with deployment.at_once() as worker:
        with deployment.publishing():
            ids = [deployment.submit("short_at_last", f"cold {n}") for n in range(RUNNING)]
            stubborn = deployment.submit("swallows", "stubborn", 1000)
        await eventually(lambda: deployment.begun() == RUNNING, 20)
        worker.child.signal(signal.SIGQUIT)
        await ended(worker.child)
        assert worker.child.returncode == 0
    assert deployment.depth(deployment.queue) == RUNNING + 1
    async with deployment.at_once():
        await deployment.all_succeed(ids)
        assert deployment.record(stubborn)["status"] == "STARTED"
    assert deployment.begun() == 2 * RUNNING


@pytest.mark.parametrize("app", ["stock"])
async def test_a_soft_shutdown_waits_for_what_ends_soon(deployment: Deployed):
    deployment.env["SOFT_S"] = "4"
    async with deployment.at_once() as worker:
        with deployment.publishing():
            ids = [deployment.submit("doze", f"soon {n}", 2) for n in range(RUNNING)]
            deployment.submit("doze", "late", 60)
        await eventually(lambda: deployment.begun() == RUNNING + 1, 20)
        worker.child.signal(signal.SIGQUIT)
        await ended(worker.child)
    assert deployment.states_of(ids) == {"SUCCESS": RUNNING}
    assert deployment.depth("stock") == 1


async def test_a_killed_worker_loses_what_was_acknowledged_early_and_nothing_else(
    deployment: Deployed,
):
    async with deployment.at_once() as worker:
        late = deployment.submit("short_at_last", "late")
        early = deployment.submit("early", "early", 60)
        await eventually(lambda: deployment.begun() == 2, 20)
        control = deployment.celery("ping", "inspect", "ping")  # the acknowledgement is written
        control.spawn()
        assert await control.wait() == 0
        await worker.child.kill()
    async with deployment.at_once():
        await deployment.all_succeed([late])
        assert deployment.depth("default") == 0
    assert sorted(deployment.runs) == ["early begins", "late begins", "late begins"]
    assert deployment.record(early)["status"] == "STARTED"


@both
async def test_limits_of_the_worker(deployment: Deployed):
    async with deployment.at_once("--time-limit=2", "--soft-time-limit=1"):
        soft = deployment.submit("doze", "soft", 60)
        hard = deployment.submit("swallows", "hard", 1)
        own = deployment.submit("doze", "own", 60, timelimit=[0.5, None])
        records = [await deployment.ended(one) for one in (soft, hard, own)]
    kinds = [one["result"]["exc_type"] for one in records]
    assert kinds == ["SoftTimeLimitExceeded", "TimeLimitExceeded", "TimeLimitExceeded"]


async def test_a_coroutine_that_never_ends_is_a_lost_slot(deployment: Deployed):
    async with deployment.at_once() as worker:
        other = deployment.submit("doze", "other", 10)
        stuck = deployment.submit("swallows", "stuck", 1000, timelimit=[0.5, None])
        record = await deployment.ended(stuck, 30)
        assert record["result"]["exc_type"] == "TimeLimitExceeded"
        assert record["result"]["exc_message"] == [0.5]
        code = await ended(worker.child)
        assert code == os.EX_TEMPFAIL
        worker.child.spawn()  # as whoever started it does
        assert (await deployment.ended(other))["status"] == "SUCCESS"
        await eventually(lambda: b" ready." in worker.child.logged(), 30)
    assert deployment.runs.count("other ends") == 1


@pytest.mark.parametrize("option", ["--max-tasks-per-child=9", "--max-memory-per-child=9000"])
async def test_what_is_for_processes_is_refused(deployment: Deployed, option: str):
    worker = deployment.celery("w", "worker", "--pool=custom", option)
    worker.spawn()
    assert await ended(worker) == os.EX_CONFIG
    log = worker.logged().decode()
    assert "is for pools of processes" in log
    assert "Traceback" not in log


async def test_redis_away_and_restarted_under_a_thousand_ends_each_once(
    deployment: Deployed, redis_server: Redis
):
    async with deployment.at_once():
        with deployment.publishing():
            ids = [deployment.submit("doze", f"away {n}", 8) for n in range(MANY)]
        await eventually(lambda: deployment.begun() > MANY * 0.8, 30)
        await redis_server.kill()
        await eventually(lambda: deployment.runs.count("away 0 ends"), 20)
        await redis_server.start()
        await deployment.all_succeed(ids)
    assert deployment.begun() == MANY
    assert {tuple(deployment.states(one)) for one in ids} <= {("STARTED", "SUCCESS"), ("SUCCESS",)}
    assert deployment.depth("default") == deployment.depth("default.dead") == 0


@pytest.fixture
async def proxy(deployment: Deployed) -> AsyncIterator[TcpProxy]:
    """Stands between RabbitMQ and workers that are started from here on."""
    async with TcpProxy(urlsplit(deployment.amqp_url).port or 0) as proxy:
        deployment.env["AMQP_URL"] = proxy.url_through(deployment.amqp_url)
        yield proxy


@ours_first
async def test_a_cut_connection_under_a_thousand_ends_each_once(
    deployment: Deployed, proxy: TcpProxy
):
    async with deployment.at_once():
        with deployment.publishing():
            ids = [deployment.submit("doze", f"cut {n}", 4) for n in range(MANY)]
        await eventually(lambda: deployment.begun() > MANY * 0.8, 30)
        proxy.cut()
        await deployment.all_succeed(ids)
        await eventually(lambda: deployment.depth(deployment.queue) == 0)
    assert deployment.depth(deployment.queue) == 0
    runs = Counter(deployment.runs)
    assert max(runs[f"cut {n} begins"] for n in range(MANY)) <= 2
    if deployment.queue == "default":
        finals = [deployment.states(one).count("SUCCESS") for one in ids]
        assert set(finals) == {1}
        assert deployment.depth("default.dead") == 0


@pytest.mark.long
async def test_the_neighbours_of_a_coroutine_that_ends_its_process_succeed(deployment: Deployed):
    child = deployment.make_worker(
        "asyncio", "-Q", "default", name="w", concurrency=ROOM, app=""
    ).child  # fmt: skip

    async def keep() -> None:
        while True:
            child.spawn()
            await child.wait()

    keeper = asyncio.create_task(keep())
    try:
        with deployment.publishing():
            ids = [deployment.submit("doze", f"beside {n}", 3) for n in range(2 * RUNNING)]
            deadly = deployment.submit("leaves", "deadly", "os._exit")
        await deployment.all_succeed(ids, 150)
        record = await deployment.ended(deadly, 60)
    finally:
        keeper.cancel()
        await child.stop(10)
    assert (record["status"], record["result"]["exc_type"]) == ("FAILURE", "WorkerLost")
    assert deployment.runs.count("deadly") == 3
    assert deployment.depth("default.dead") == 0
