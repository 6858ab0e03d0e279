"""Each problem is caused, and is told in time; once it is mended it is told no more."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import aio_pika
import pytest
import redis

from devstack.proxy import TcpProxy
from gateway.operating.problems import AFTER_S, STALLED_AFTER_S
from penstock.wire.schedules import BEAT_SILENT_S
from tests.deployment.workers import Deployment
from tests.support.dead_letters import DeadLetterBroker
from tests.support.schedules_seen import EVERY, put
from tests.support.waiting import eventually


@pytest.fixture
def deployment(amqp_url, redis_url, tmp_path):
    return Deployment(amqp_url=amqp_url, redis_url=redis_url, folder=tmp_path)


TOLD_WITHIN_S = 20.0
"""Behind the time that makes it a problem; and as long until it is gone, once mended."""


async def found(gateway: Any) -> dict[str, str]:
    async with gateway.get("/v1/problems") as response:
        assert response.status == 200
        return {one["code"]: one["subject"] for one in (await response.json())["problems"]}


async def scaling(gateway: Any, query: str = "") -> dict[str, Any]:
    async with gateway.get(f"/v1/scaling/default{query}") as response:
        assert response.status == 200
        answer: dict[str, Any] = await response.json()
        return answer


@pytest.mark.timeout(180)
async def test_a_killed_worker_its_task_and_its_queue_are_problems_until_another_starts(
    gateway, deployment
):
    assert await found(gateway) == {}
    async with deployment.worker("threads") as worker:
        async with gateway.post("/v1/tasks", json={"task": "demo.doze", "args": ["d", 1]}) as sent:
            assert sent.status == 202
        async with gateway.post("/v1/tasks", json={"task": "demo.nap", "args": ["n", 90]}) as sent:
            task_id = (await sent.json())["id"]

        async def runs() -> bool:
            return (await scaling(gateway))["running"] == 1

        await eventually(runs, 30, 0.2)
        assert (await scaling(gateway))["wanted"] == 1
        assert await found(gateway) == {}
        await worker.kill()

    async def all_seen() -> bool:
        return len(await found(gateway)) == 3

    await eventually(all_seen, 60, 0.5)
    name = next(name for code, name in (await found(gateway)).items() if code == "worker-silent")
    assert await found(gateway) == {
        "worker-silent": name, "task-stuck": task_id, "queue-without-worker": "default",
    }  # fmt: skip
    assert name.startswith("w@")
    async with gateway.get("/metrics") as response:
        text = await response.text()
    assert 'penstock_problem{code="queue-without-worker",subject="default"} 1.0' in text
    figures = await scaling(gateway, "?target_s=10")
    assert (figures["backlog"], figures["running"], figures["wanted"]) == (1, 0, 1)
    assert figures["due_60s"] == 0

    async with gateway.delete(f"/v1/tasks/{task_id}") as response:
        assert response.status == 202
    async with deployment.worker("threads"):

        async def mended() -> bool:
            return await found(gateway) == {}

        await eventually(mended, 40, 0.5)


@pytest.mark.timeout(120)
async def test_a_queue_that_is_mended_while_redis_is_away_is_told_no_more(
    make_gateway, amqp_url, redis_url
):
    async with TcpProxy(urlsplit(redis_url).port or 0) as proxy:
        gateway = await make_gateway(redis_url=proxy.url_through(redis_url))
        async with gateway.post("/v1/tasks", json={"task": "demo.add", "args": [1, 2]}) as sent:
            assert sent.status == 202
        after_s = AFTER_S["queue-without-worker"]
        await told(gateway, ("queue-without-worker", "default"), after_s=after_s)

        proxy.stall()
        try:
            async with await aio_pika.connect(amqp_url) as connection:
                there = await (await connection.channel()).get_queue("default", ensure=False)
                await there.purge()
            await told(gateway)
        finally:
            proxy.resume()


async def told(gateway: Any, *problems: tuple[str, str], after_s: float = 0.0) -> None:
    """Wait until these are the problems, in words and as a metric."""

    async def so() -> bool:
        async with gateway.get("/metrics") as response:
            lines = (await response.text()).splitlines()
        metric = {line for line in lines if line.startswith("penstock_problem{")}
        assert set((await found(gateway)).items()) == set(problems)
        assert metric == {
            f'penstock_problem{{code="{code}",subject="{subject}"}} 1.0'
            for code, subject in problems
        }
        return True

    await eventually(so, after_s + TOLD_WITHIN_S, 0.2)


@pytest.mark.long  # depths of dead letters are sampled every 10 s
async def test_a_full_redis_and_more_dead_letters_are_problems_until_they_are_mended(
    gateway, deployment, redis_url
):
    await told(gateway)
    redis_server = redis.Redis.from_url(redis_url)
    redis_server.set("ballast", bytes(40_000_000))
    redis_server.config_set("maxmemory", "48mb")
    try:
        deployment.publish("demo.run", ["x"])
        async with await aio_pika.connect(deployment.amqp_url) as connection:
            message = await DeadLetterBroker(await connection.channel()).get()
            await message.reject(requeue=False)
        await told(gateway, ("redis-memory", "redis"), ("dead-letters-growing", "default"))
        letters = "/v1/dead-letters/default/discard"
        async with gateway.post(letters, json={"all": True}) as response:
            assert response.status == 200
    finally:
        redis_server.config_set("maxmemory", "0")
        redis_server.delete("ballast")
    await told(gateway)


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_busy_slots_stall_a_queue_and_schedules_without_beat_are_problems_until_mended(
    gateway, deployment
):
    stalled, silent = ("queue-stalled", "default"), ("beat-silent", "beat")
    async with (
        deployment.worker("asyncio", "-Q", "default", concurrency=2),
        beat(deployment) as one,
    ):
        ids = []
        for number in range(3):
            body = {"task": "demo.doze", "args": [f"{number}", 300]}
            async with gateway.post("/v1/tasks", json=body) as sent:
                ids.append((await sent.json())["id"])
        await put(gateway, "hourly", EVERY)
        await eventually(lambda: "beat: leading" in one.log_tail(200), 30)
        await told(gateway)
        await one.kill()
        await told(gateway, silent, after_s=BEAT_SILENT_S + AFTER_S["beat-silent"])
        await told(gateway, silent, stalled, after_s=STALLED_AFTER_S)

        async with gateway.delete(f"/v1/tasks/{ids[0]}?terminate=true") as response:
            assert response.status == 202
        await told(gateway, silent)
        async with beat(deployment):
            await told(gateway)


@contextlib.asynccontextmanager
async def beat(deployment: Deployment) -> AsyncIterator[Any]:
    child = deployment.celery("beat", "beat", "-l", "info", app="tasks.worker")
    child.spawn()
    try:
        yield child
    finally:
        await child.stop()


async def test_figures_are_of_queues_that_exist_and_for_times_that_make_sense(gateway):
    for path, code in (
        ("none", "unknown-queue"),
        ("default?target_s=0", "invalid-request"),
        ("default?target=1", "invalid-request"),
    ):
        async with gateway.get(f"/v1/scaling/{path}") as response:
            assert (await response.json())["code"] == code
