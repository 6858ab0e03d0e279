"""Each server killed with -9 and started again while tasks run, on a worker of each pool.

Nothing of ours is restarted, and nothing accepted is lost.
"""

import asyncio
import time
from typing import Any

import aiohttp
import pytest
from pymongo import AsyncMongoClient

from devstack.stack import Stack
from tests.faults.conftest import POOLS
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(180)

PROMPT_S = 2.0
"""Known before anything is written, so it is told at once; two busy cores are allowed for."""

BATCHES = 80
"""Ten for each slot of the workers: they would hold all slots for minutes if each one waited."""


async def post(
    http: aiohttp.ClientSession, path: str, body: Any, **headers: str
) -> tuple[int, dict[str, Any], float]:
    began = time.monotonic()
    async with http.post(path, json=body, headers=headers) as response:
        return response.status, await response.json(), time.monotonic() - began


async def submit(http: aiohttp.ClientSession, task: str, *args: Any, **options: Any) -> str:
    status, answer, _ = await post(
        http, "/v1/tasks", {"task": task, "args": args, "options": options}
    )
    assert status == 202, answer
    return str(answer["id"])


async def states(http: aiohttp.ClientSession, ids: list[str]) -> list[str]:
    status, answer, _ = await post(http, "/v1/tasks/status", {"ids": ids})
    assert status == 200, answer
    return [task["state"] for task in answer["tasks"]]


async def all_succeed(http: aiohttp.ClientSession, ids: list[str], timeout_s: float = 60) -> None:
    async def succeeded() -> bool:
        found = await states(http, ids)
        assert not {"FAILURE", "REVOKED"} & set(found)
        return set(found) == {"SUCCESS"}

    await eventually(succeeded, timeout_s, 0.2)


async def some_of_each(http: aiohttp.ClientSession) -> list[str]:
    """Tasks that run, wait, are delayed and will be retried."""
    return [
        *[await submit(http, "demo.sleep", 3) for _ in range(6)],
        *[await submit(http, "demo.add", n, n) for n in range(20)],
        *[await submit(http, "demo.add", n, n, countdown=3) for n in range(6)],
        *[await submit(http, "demo.flaky", 2) for _ in range(4)],
        *[await submit(http, "demo.sleep", 1, queue="high_priority") for _ in range(6)],
    ]


WORKERS = tuple(f"worker-{pool}" for pool in POOLS)


def pids(stack: Stack) -> dict[str, int]:
    return {name: stack.units[name].child.pid for name in (*WORKERS, "gateway")}


async def accepts(http: aiohttp.ClientSession) -> str:
    return await eventually(lambda: submit(http, "demo.add", 1, 2), 30, 0.1)


async def test_a_killed_rabbitmq_refuses_promptly_and_loses_nothing(stack: Stack, http):
    ours = pids(stack)
    ids = await some_of_each(http)
    await stack.kill("rabbitmq")

    async def refused() -> bool:
        status, answer, took_s = await post(http, "/v1/tasks", {"task": "demo.add", "args": [1, 2]})
        assert (status, answer["code"], answer["queued"]) == (503, "broker-unavailable", "no")
        return took_s < PROMPT_S

    await eventually(refused)
    status, answer, took_s = await post(http, "/v1/ingest/killed", [{"n": 1}])
    assert (status, answer["code"]) == (503, "broker-unavailable")
    assert took_s < PROMPT_S
    assert (await http.get("/readyz")).status == 503
    await stack.start_part("rabbitmq")
    began = time.monotonic()
    ids.append(await accepts(http))
    assert time.monotonic() - began < 15

    await all_succeed(http, ids)
    assert pids(stack) == ours


async def test_a_killed_redis_lets_tasks_wait_and_loses_nothing(stack: Stack, http):
    ours = pids(stack)
    ids = await some_of_each(http)
    await stack.kill("redis")

    waiting = [await submit(http, "demo.add", n, n) for n in range(10)]
    body = {"task": "demo.add", "args": [1, 2]}
    status, answer, took_s = await post(http, "/v1/tasks", body, **{"Idempotency-Key": "k"})
    assert (status, answer["code"], answer["queued"]) == (503, "state-unavailable", "no")
    assert took_s < PROMPT_S
    began = time.monotonic()
    async with http.get(f"/v1/tasks/{waiting[0]}") as response:
        assert (response.status, (await response.json())["code"]) == (503, "state-unavailable")
    assert time.monotonic() - began < PROMPT_S
    async with http.get("/readyz") as response:
        assert (response.status, (await response.json())["status"]) == (200, "degraded")
    await stack.start_part("redis")

    await all_succeed(http, [*ids, *waiting])
    assert pids(stack) == ours


async def test_a_killed_mongodb_lets_documents_wait_and_loses_none(stack: Stack, http):
    ours = pids(stack)
    collection = f"waits_{ours['worker-threads']}"
    path = f"/v1/ingest/{collection}"
    await post(http, path, [{"_id": f"before-{n}"} for n in range(500)])
    await stack.kill("mongo")
    for batch in range(BATCHES):
        documents = [{"_id": f"{batch}-{n}"} for n in range(100)]
        status, answer, took_s = await post(http, path, documents)
        assert (status, answer["accepted"]) == (202, 100)
        assert took_s < PROMPT_S
    # Others need no MongoDB: the first wait while the worker finds out, the next do not.
    for timeout_s in (20, 10):
        others = [await submit(http, "demo.add", n, n) for n in range(5)]
        await all_succeed(http, others, timeout_s)
    await stack.start_part("mongo")

    client: AsyncMongoClient[Any] = AsyncMongoClient(stack.mongo_url)
    async with client:
        stored = client.get_default_database()[collection]
        await eventually(lambda: _count(stored, 500 + 100 * BATCHES), 60, 0.2)
    assert pids(stack) == ours


async def _count(documents: Any, count: int) -> bool:
    return await documents.count_documents({}) == count


async def test_all_three_killed_at_once_lose_nothing(stack: Stack, http):
    ours = pids(stack)
    ids = await some_of_each(http)
    await asyncio.gather(*(stack.kill(name) for name in stack.servers))
    await asyncio.gather(*(stack.start_part(name) for name in stack.servers))

    ids.append(await accepts(http))
    await all_succeed(http, ids, 90)
    assert pids(stack) == ours
