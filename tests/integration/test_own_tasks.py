"""A team's own tasks: PENSTOCK_TASKS, a layout of four lines, and workers that lack them."""

import json
import os
from pathlib import Path

import pytest
from redis import Redis

from penstock.wire.announcements import CATALOG_KEY
from tests.deployment.workers import Deployment
from tests.support.waiting import eventually

TASKS = '''
import asyncio

from celery import shared_task
from penstock import PermanentError, RetryableError, TaskContext
from penstock.worker.running.spec import TaskSpec


@shared_task
def add(x: int, y: int = 1) -> int:
    """Add two integers."""
    return x + y


@shared_task
async def greet(context: TaskContext, name: str) -> str:
    await context.progress(1, 2, "half")
    return f"{name} {context.task_id}"


@shared_task(bind=True)
async def bound(self, context: TaskContext, other: str) -> list:
    await asyncio.sleep(0)
    return [self.name, self.request.id, context.task_id, await greet(other)]


@shared_task(bind=True)
def flaky(self) -> int:
    if self.request.retries < 1:
        raise RetryableError("not yet", retry_in_s=1)
    return self.request.retries


@shared_task(autoretry_for=(KeyError,), retry_kwargs={"countdown": 1}, bind=True)
async def looked_up(self) -> int:
    if self.request.retries < 1:
        raise KeyError("absent")
    return self.request.retries


@shared_task(autoretry_for=(Exception,), retry_kwargs={"countdown": 1})
async def hopeless() -> None:
    raise PermanentError("for good")


@shared_task(soft_time_limit=0.2, time_limit=5)
async def slow() -> None:
    await asyncio.sleep(30)


def listed(word: str) -> str:
    return word


TASKS = (TaskSpec("demo.listed", listed),)
'''

LAYOUT = """
extends = "default"
[[routes]]
task = "acme.*"
exchange = "tasks"
routing_key = "default"
"""


@pytest.fixture
def deployment(amqp_url: str, redis_url: str, tmp_path: Path) -> Deployment:
    (tmp_path / "acme").mkdir()
    (tmp_path / "acme" / "tasks.py").write_text(TASKS)
    (tmp_path / "layout.toml").write_text(LAYOUT)
    return Deployment(
        amqp_url=amqp_url, redis_url=redis_url, folder=tmp_path, app="tasks.worker",
        env={"PYTHONPATH": str(tmp_path), "TOPOLOGY_FILE": str(tmp_path / "layout.toml")},
    )  # fmt: skip


@pytest.mark.parametrize("pool", ["threads", "prefork", "asyncio"])
async def test_own_tasks_are_tasks_like_all_others(deployment: Deployment, pool: str):
    deployment.env["PENSTOCK_TASKS"] = "acme.tasks"
    async with deployment.worker(pool, name="own") as worker:
        found = Redis.from_url(deployment.redis_url, decode_responses=True).hgetall(CATALOG_KEY)
        entries = {entry["task"]: entry for entry in map(json.loads, found.values())}
        assert {"demo.listed", "demo.add", "acme.tasks.bound"} <= entries.keys()
        assert entries["acme.tasks.greet"]["coroutine"]
        assert [one["name"] for one in entries["acme.tasks.greet"]["params"]] == ["name"]
        assert [one["name"] for one in entries["acme.tasks.bound"]["params"]] == ["other"]
        assert entries["acme.tasks.add"]["doc"] == "Add two integers."

        names = ("add", "greet", "bound", "flaky", "looked_up")
        given: dict[str, list[object]] = {"add": [2], "greet": ["you"], "bound": ["you"]}
        ids = {
            name: deployment.publish(f"acme.tasks.{name}", given.get(name, [])) for name in names
        }
        ids["listed"] = deployment.publish("demo.listed", ["word"])
        bad = {
            "hopeless": deployment.publish("acme.tasks.hopeless"),
            "slow": deployment.publish("acme.tasks.slow"),
        }
        records = {name: await deployment.ended(task_id) for name, task_id in ids.items()}
        assert {name: record["result"] for name, record in records.items()} == {
            "add": 3,
            "greet": f"you {ids['greet']}",
            "bound": ["acme.tasks.bound", ids["bound"], ids["bound"], "you "],
            "flaky": 1,
            "looked_up": 1,
            "listed": "word",
        }
        assert "PROGRESS" in deployment.states(ids["greet"])
        failed = {name: await deployment.ended(task_id) for name, task_id in bad.items()}
        assert [one["result"]["exc_type"] for one in failed.values()] == [
            "PermanentError", "SoftTimeLimitExceeded"
        ]  # fmt: skip
        await eventually(lambda: deployment.depth("default.dead") == 1)
        assert b"Traceback" not in worker.child.logged().split(b" ready.")[0]


async def test_a_message_of_a_task_that_one_worker_lacks_is_executed_by_another(
    deployment: Deployment,
):
    async with deployment.worker(name="lacks", concurrency=1):
        deployment.env["PENSTOCK_TASKS"] = "acme.tasks"
        async with deployment.worker(name="own", concurrency=1):
            ids = [deployment.publish("acme.tasks.add", [n]) for n in range(12)]
            results = [(await deployment.ended(one, 30))["result"] for one in ids]
            assert results == [n + 1 for n in range(12)]
            said = (deployment.folder / "lacks.log").read_text()
            assert "another worker has it, offered again: task=acme.tasks.add" in said
            del deployment.env["PENSTOCK_TASKS"]
            async with deployment.worker(name="late", concurrency=1) as late:
                said = late.child.logged().decode()
                assert "tasks that this worker lacks: own@" in said
                assert "acme.tasks.add" in said
        alone = deployment.publish("acme.tasks.add", [1])
        record = await deployment.ended(alone)
        assert record["result"]["exc_type"] == "NotRegistered"
        await eventually(lambda: deployment.depth("default.dead") == 1)


APP = """
import os
from penstock import Penstock

app = Penstock("proj", broker=os.environ["AMQP_URL"], backend=os.environ["REDIS_URL"])
app.conf.task_default_queue = os.environ["QUEUE"]


@app.task(name="proj.add")
def add(x: int, y: int) -> int:
    return x + y
"""


def stranger(deployment: Deployment, queue: str) -> None:
    """Make the deployment that of an application without a layout."""
    (deployment.folder / "proj.py").write_text(APP)
    deployment.app = "proj"
    deployment.env["QUEUE"] = queue


@pytest.mark.bare_vhost
async def test_an_application_without_a_layout_says_that_no_gateway_has_declared_one(
    deployment: Deployment,
):
    stranger(deployment, "proj")
    child = deployment.celery("w", "worker", "-P", "solo")
    child.spawn()
    await eventually(lambda: child.returncode is not None, 30)

    assert child.returncode == os.EX_CONFIG
    assert "RabbitMQ has no exchange 'broadcast': start a gateway" in child.logged().decode()


async def test_an_application_without_a_layout_names_a_queue_that_there_is_not(
    deployment: Deployment,
):
    stranger(deployment, "proj")
    child = deployment.celery("w", "worker", "-P", "solo")
    child.spawn()
    await eventually(lambda: child.returncode is not None, 30)

    assert child.returncode == os.EX_CONFIG
    assert "RabbitMQ has no queue 'proj': add [queues.proj]" in child.logged().decode()


@pytest.mark.parametrize("queue", ["default", "ranked"])
async def test_an_application_without_a_layout_consumes_queues_as_they_are(
    deployment: Deployment, queue: str
):
    stranger(deployment, queue)
    async with deployment.worker("prefork"):
        task = deployment.publish("proj.add", [1, 2], exchange="", routing_key=queue)
        assert (await deployment.ended(task))["result"] == 3
