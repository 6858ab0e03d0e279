"""A task that no worker has, on every path, while real workers come and go."""

import asyncio
import json
from typing import Any

import pytest
from kombu.connection import Connection
from kombu.entity import Queue

from penstock.wire.announcements import WORKERS_KEY, decode_worker
from tests.deployment.workers import Deployment
from tests.support.waiting import eventually

ABSENT = {"task": "demo.ecko", "args": [1]}
PATHS: list[tuple[str, str, Any]] = [
    ("POST", "/v1/tasks", ABSENT),
    ("POST", "/v1/tasks", {**ABSENT, "options": {"queue": "default", "countdown": 60}}),
    ("POST", "/v1/canvas", {"chain": [{"task": "demo.echo", "args": [1]}, {"task": "demo.ecko"}]}),
    ("POST", "/v1/canvas", {"group": [{"task": "demo.echo", "args": [1], "link": ABSENT}]}),
    ("PUT", "/v1/schedules/absent", {**ABSENT, "every": 3600}),
    ("POST", "/v1/broadcast", ABSENT),
]


@pytest.fixture
def deployment(amqp_url: str, redis_url: str, tmp_path) -> Deployment:
    return Deployment(amqp_url=amqp_url, redis_url=redis_url, folder=tmp_path)


def records(deployment: Deployment) -> list[Any]:
    return [decode_worker(value) for value in deployment.redis.hvals(WORKERS_KEY)]


def consumed(deployment: Deployment) -> list[set[str]]:
    return [set(one.queues) for one in records(deployment) if one.consuming]


def consumers(deployment: Deployment, queue: str) -> int:
    with Connection(deployment.amqp_url) as connection:
        declared = connection.default_channel.queue_declare(queue, passive=True)
        return int(declared.consumer_count)


async def test_a_task_that_no_worker_has_is_refused_on_every_path(gateway, deployment: Deployment):
    async def post(body: Any, path: str = "/v1/tasks", method: str = "POST") -> tuple[int, Any]:
        async with gateway.request(method, path, json=body) as answer:
            return answer.status, await answer.json()

    async def submitted() -> int:
        return (await post(ABSENT))[0]

    async def refused_now() -> bool:
        return await submitted() == 404

    assert await submitted() == 202  # nobody consumes: a worker that has it may come
    worker = deployment.worker("solo", "-Q", "default")
    async with worker:
        # At once: what was seen while no worker was there is looked up again.
        for method, path, body in PATHS:
            status, problem = await post(body, path, method)
            assert (status, problem.get("code")) == (404, "unknown-task"), (path, body)
            assert problem["near"][0] == "demo.echo"
            assert problem["queued"] == "no"
        headers = {"Content-Type": "application/x-ndjson"}
        lines = "\n".join(map(json.dumps, [ABSENT, {**ABSENT, "task": "demo.echo"}] * 300))
        async with gateway.post("/v1/tasks/bulk", data=lines, headers=headers) as answer:
            *refused, last = map(json.loads, (await answer.text()).splitlines())
        assert last["summary"] == {"accepted": 300, "rejected": 300}
        assert {(one["status"], one["code"]) for one in refused} == {(404, "unknown-task")}
        assert refused[0]["near"][0] == "demo.echo"

        with Connection(deployment.amqp_url) as stranger:  # as a stock worker: it announces nothing
            queue = Queue("default", no_declare=True)(stranger.channel())
            queue.consume("stranger", lambda _: None)
            assert await submitted() == 202
        await eventually(refused_now)
    await eventually(lambda: consumed(deployment) == [])
    assert await submitted() == 202


async def test_a_worker_announces_itself_before_it_consumes_and_each_change_of_its_queues(
    gateway, deployment: Deployment
):
    del gateway  # has declared the layout

    async def control(*arguments: str) -> None:
        child = deployment.celery("control", "control", *arguments)
        child.spawn()
        await eventually(lambda: not child.running, timeout_s=20)

    starting = deployment.worker("threads", "-Q", "default,ranked")
    ready = asyncio.create_task(starting.__aenter__())
    await eventually(lambda: consumers(deployment, "default") > 0, timeout_s=20, every_s=0.005)
    assert consumed(deployment) == [{"default", "ranked"}]  # in the first moment of its consuming
    await ready
    await control("cancel_consumer", "ranked")
    await eventually(lambda: consumed(deployment) == [{"default"}], timeout_s=2.5)
    await control("add_consumer", "periodic")
    await eventually(lambda: consumed(deployment) == [{"default", "periodic"}], timeout_s=2.5)
    await starting.__aexit__(None, None, None)
    [record] = records(deployment)
    assert not record.consuming
    assert "demo.echo" in record.tasks
