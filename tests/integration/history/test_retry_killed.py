"""Failures retried by a filter while gateway and history are killed with kill -9: each once."""

import asyncio
import json
import time
from collections import Counter
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from pymongo import AsyncMongoClient

from devstack.ports import LOOPBACK, free_port
from devstack.product import Launcher, gateway_url
from penstock.wire.keys import HISTORY_CHANGES
from tests.deployment.workers import Deployment
from tests.support.history_documents import NOW, failed
from tests.support.waiting import eventually

OTHERS = 50
"""Failures that the filter does not mean."""


def failure(n: int, task: str = "demo.doze") -> dict[str, Any]:
    at = NOW - timedelta(seconds=n)
    return failed(f"old-{task}-{n}", json.dumps([f"{task} {n}", 0]), task=task, at=at)


class Killed:
    """A gateway and history that are killed and started again."""

    def __init__(self, env: dict[str, str], logs: Any) -> None:
        gateway, history = free_port(), free_port()
        self.url = gateway_url(LOOPBACK, gateway)
        launcher = Launcher(env={**env, "HISTORY_URL": gateway_url(LOOPBACK, history)}, logs=logs)
        self.processes = launcher.gateway(LOOPBACK, gateway), launcher.history(history)

    async def start(self) -> None:
        await asyncio.gather(*(one.start() for one in self.processes))

    async def kill(self) -> None:
        await asyncio.gather(*(one.kill() for one in self.processes))

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        async with (
            aiohttp.ClientSession(self.url) as session,
            session.request(method, path, json=body) as response,
        ):
            answer = await response.json()
            assert response.status < 300, answer
            return answer


@pytest.mark.parametrize(
    ("count", "rate", "kills"),
    [
        pytest.param(400, 200, 1, id="small"),
        pytest.param(10_000, 400, 4, id="whole",
                     marks=[pytest.mark.long, pytest.mark.timeout(600)]),
    ],
)  # fmt: skip
async def test_each_of_many_failures_runs_again_once_though_both_are_killed(
    amqp_url, redis_url, mongo_url, tmp_path, count, rate, kills
):
    deployment = Deployment(amqp_url=amqp_url, redis_url=redis_url, folder=tmp_path)
    database = urlsplit(mongo_url).path[1:]
    env = {**deployment.environment, "MONGO_URL": mongo_url, "HISTORY_DATABASE": database,
           "HISTORY_EVENTS": "0"}  # fmt: skip
    killed = Killed(env, tmp_path)
    client: AsyncMongoClient[Any] = AsyncMongoClient(mongo_url)
    async with client, deployment.worker("asyncio", concurrency=50):
        tasks, items = client[database]["tasks"], client[database]["operation_items"]
        await tasks.insert_many([failure(n) for n in range(count)])
        await tasks.insert_many([failure(n, "demo.echo") for n in range(OTHERS)])
        await killed.start()
        try:
            await eventually(lambda: deployment.redis.exists(HISTORY_CHANGES), 20)
            body = {"where": {"task": "demo.doze", "error": "RuntimeError"}, "rate": rate}
            began = time.monotonic()
            begun = await killed.call("POST", "/v1/tasks/retry", body)
            assert (begun["matched"], begun["without_request"]) == (count, 0)
            settled = {"_id.op": begun["operation"], "state": "done"}
            for kill in range(kills):
                least = count * (kill + 1) // (kills + 2)

                async def under_way(least: int = least) -> bool:
                    return bool(await items.count_documents(settled) >= least)

                await eventually(under_way, 120, 0.02)
                await killed.kill()
                assert await items.count_documents(settled) < count
                if kills == 1:  # the lease, which takes 10 s
                    deployment.redis.delete(f"penstock:operation:{begun['operation']}:by")
                await killed.start()

            async def done() -> Any:
                one = await killed.call("GET", f"/v1/operations/{begun['operation']}")
                return one if one["state"] == "done" else None

            operation = await eventually(done, 300, 0.1)
            took_s = time.monotonic() - began
            assert (operation["done"], operation["failed"], operation["of"]) == (count, 0, count)
            assert took_s > (count - 1) / rate - 0.1

            await _check_runs(deployment, [one async for one in items.find()], count)
            again = {"retried_from": {"$exists": True}, "state": "SUCCESS"}

            async def kept() -> bool:
                return bool(await tasks.count_documents(again) == count)

            await eventually(kept, 60, 0.2)
            assert await tasks.count_documents({}) == 2 * count + OTHERS
        finally:
            await killed.kill()


async def _check_runs(deployment: Deployment, items: list[dict[str, Any]], count: int) -> None:
    """Wait until all have ended, and check that each has run once."""
    assert len({one["new_id"] for one in items}) == count

    def ended() -> bool:
        records = deployment.redis.mget([f"celery-task-meta-{one['new_id']}" for one in items])
        states = Counter(json.loads(record)["status"] if record else "" for record in records)
        return states == {"SUCCESS": count} and deployment.depth("default") == 0

    await eventually(ended, 120, 0.2)
    runs = Counter(run.removesuffix(" begins") for run in deployment.runs if "begins" in run)
    assert runs == {f"demo.doze {n}": 1 for n in range(count)}
