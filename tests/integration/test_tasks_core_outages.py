"""RabbitMQ and Redis killed while tasks run, on both pools: nothing is lost, nothing restarted."""

from collections import Counter
from pathlib import Path

import pytest
import redis.asyncio

from devstack.rabbit import Rabbit
from devstack.redis_server import Redis
from tests.deployment.workers import Deployment
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(180)
on_both_pools = pytest.mark.parametrize("pool", ["threads", "prefork", "asyncio"])


@pytest.fixture
def deployment(amqp_url: str, redis_url: str, tmp_path: Path) -> Deployment:
    return Deployment(amqp_url=amqp_url, redis_url=redis_url, folder=tmp_path)


class Killed:
    """A Redis that is gone for a while."""

    def __init__(self, server: Redis) -> None:
        self._server = server

    async def spoil(self) -> None:
        await self._server.kill()

    async def mend(self) -> None:
        await self._server.start()


class Full:
    """A Redis that is at its bound for a while."""

    def __init__(self, server: Redis) -> None:
        self._url = server.url

    async def spoil(self) -> None:
        async with redis.asyncio.from_url(self._url) as client:
            await client.config_set("maxmemory", 1)

    async def mend(self) -> None:
        async with redis.asyncio.from_url(self._url) as client:
            await client.config_set("maxmemory", 0)


@on_both_pools
@pytest.mark.parametrize("fault", [Killed, Full])
async def test_tasks_wait_for_redis(
    deployment: Deployment, redis_server: Redis, pool: str, fault: type[Killed | Full]
):
    trouble = fault(redis_server)
    async with deployment.worker(pool) as worker:
        running = [deployment.publish("demo.nap", [f"nap {n}", 1.5]) for n in range(2)]
        await eventually(lambda: len(deployment.runs) == 2)
        await trouble.spoil()
        waiting = [deployment.publish("demo.run", [f"run {n}"]) for n in range(6)]
        progressing = deployment.publish("demo.progress", [3])
        untracked = deployment.publish("demo.run", ["untracked"], ignore_result=True)
        # Both slots hold a task whose end cannot be stored; nothing was acknowledged unrun.
        await eventually(lambda: b"redis away" in worker.child.logged(), 15)
        assert not [run for run in deployment.runs if run.startswith("run")]
        await trouble.mend()

        for task_id in (*running, *waiting, progressing):
            record = await deployment.ended(task_id, 30)
            assert record["status"] == "SUCCESS"
        await eventually(lambda: "untracked" in deployment.runs)
        counts = Counter(run for run in deployment.runs if "ends" not in run)
        assert set(counts.values()) == {1}
        assert len(counts) == 9
        await eventually(lambda: deployment.depth("default") == 0)
        assert deployment.depth("default.dead") == 0
        assert deployment.record(untracked) == {}
        await eventually(lambda: b"redis is back" in worker.child.logged())
        # One line of an outage, of each process.
        assert worker.child.logged().count(b"redis away") <= (3 if pool == "prefork" else 1)


async def test_tasks_survive_rabbitmq(deployment: Deployment, rabbit: Rabbit):
    # A worker of each pool takes half of the tasks, of each kind in turns.
    async with deployment.worker("threads", name="t"), deployment.worker("prefork", name="p"):
        await rabbit.settle()
        naps = [deployment.publish("demo.nap", [f"nap {n}", 3]) for n in range(6)]
        dozing = [deployment.publish("demo.doze", [f"doze {n}", 3]) for n in range(2)]
        runs = [deployment.publish("demo.run", [f"run {n}"]) for n in range(10)]
        flaky = [deployment.publish("demo.flaky", [3]) for _ in range(2)]
        delayed = [
            deployment.publish("demo.flaky", [1], routing_key="high_priority") for _ in range(2)
        ]
        await eventually(lambda: len(deployment.runs) >= 4)
        await rabbit.restart()

        for task_id in (*naps, *dozing, *runs, *flaky, *delayed):
            record = await deployment.ended(task_id, 90)
            assert record["status"] == "SUCCESS", record
        await eventually(lambda: deployment.depth("default") == 0)
        assert deployment.depth("default.dead") == 0
        assert (await deployment.ended(deployment.publish("demo.add", [1, 2])))["result"] == 3


@on_both_pools
async def test_a_retry_outlives_rabbitmq(deployment: Deployment, rabbit: Rabbit, pool: str):
    async with deployment.worker(pool, concurrency=1):
        await rabbit.settle()
        # It fails, and asks to be tried again, just while nobody is there to take the message.
        failing = deployment.publish("demo.late_failure", ["late", 1.5])
        await eventually(lambda: len(deployment.runs) == 1)
        await rabbit.kill()
        if pool == "threads":  # prefork kills what it can no longer acknowledge
            await eventually(lambda: "late fails" in deployment.runs)
        await rabbit.start()

        record = await deployment.ended(failing, 90)
        assert record["status"] == "SUCCESS"
        assert deployment.depth("default.dead") == 0


async def test_a_retry_goes_back_to_its_queue_whichever_consumer_it_came_by(deployment: Deployment):
    async with deployment.worker("asyncio", concurrency=100):
        # More than Celery's own consumer of the queue may be sent: the pool adds others.
        dozing = [deployment.publish("demo.doze", [f"doze {n}", 8]) for n in range(20)]
        await eventually(lambda: len(deployment.runs) == len(dozing))

        flaky = await deployment.ended(deployment.publish("demo.flaky", [2]))

        assert (flaky["status"], flaky["result"]) == ("SUCCESS", 3)
        assert deployment.depth("default.dead") == 0


async def test_a_worker_that_waits_for_redis_can_be_stopped(
    deployment: Deployment, redis_server: Redis
):
    # On prefork children wait like the parent of any task: docker's SIGKILL ends them.
    async with deployment.worker("threads", concurrency=1) as worker:
        await redis_server.kill()
        deployment.publish("demo.run", ["once"])
        await eventually(lambda: b"redis away" in worker.child.logged(), 15)
        await worker.child.stop(20)
        assert worker.child.returncode == 0
        assert deployment.runs == []
        await redis_server.start()
        await eventually(lambda: deployment.depth("default") == 1)


@on_both_pools
async def test_a_killed_worker_gives_its_tasks_back(deployment: Deployment, pool: str):
    async with deployment.worker(pool, name="first") as first:
        tasks = [deployment.publish("demo.doze", [f"doze {n}", 1]) for n in range(5)]
        await eventually(lambda: len(deployment.runs) == 2)
        await first.kill()
    async with deployment.worker(pool, name="second"):
        for task_id in tasks:
            record = await deployment.ended(task_id, 30)
            assert (record["status"], record["worker"].split("@")[0]) == ("SUCCESS", "second")
    assert deployment.depth("default") == 0
