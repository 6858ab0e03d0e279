"""/readyz finds out whether Redis stores, whatever the reason is why it does not."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

import devstack.redis_server
from penstock.wire.announcements import SILENT_AFTER_S
from tests.deployment.gateway import running_gateway
from tests.deployment.workers import Deployment
from tests.support.waiting import eventually


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[devstack.redis_server.Redis]:
    running = devstack.redis_server.Redis(tmp_path / "redis")
    await running.start()
    yield running
    await running.kill()


async def redis_check(client: Any) -> dict[str, Any]:
    answer = await client.get("/readyz")
    check: dict[str, Any] = (await answer.json())["checks"]["redis"]
    return check


async def says(client: Any, *words: str) -> bool:
    check = await redis_check(client)
    return not check["ok"] and all(word in check["detail"] for word in words)


async def is_well(client: Any) -> bool:
    return bool((await redis_check(client))["ok"])


async def problems(client: Any) -> dict[str, str]:
    answer = await client.get("/v1/problems")
    return {one["code"]: one["detail"] for one in (await answer.json())["problems"]}


async def redis_up(client: Any) -> float:
    """Return what the alert PenstockRedisAway looks at."""
    lines = (await (await client.get("/metrics")).text()).splitlines()
    return float(next(line for line in lines if line.startswith("penstock_redis_up ")).split()[1])


async def claim(client: Any) -> tuple[int, dict[str, Any]]:
    headers = {"Idempotency-Key": "a key"}
    body = {"task": "demo.add", "args": [1, 2]}
    answer = await client.post("/v1/tasks", json=body, headers=headers)
    return answer.status, await answer.json()


async def test_each_refusal_has_its_words(server: devstack.redis_server.Redis):
    async with running_gateway(redis_url=server.url) as client, Redis.from_url(server.url) as admin:
        await eventually(lambda: is_well(client))

        await admin.config_set("min-replicas-to-write", 1)
        await eventually(lambda: says(client, "too few replicas", "NOREPLICAS"))
        status, problem = await claim(client)
        assert (status, problem["code"], problem["queued"]) == (503, "state-unavailable", "no")
        assert "stores nothing while too few replicas follow it" in problem["detail"]
        await admin.config_set("min-replicas-to-write", 0)
        await eventually(lambda: is_well(client))

        await admin.execute_command("REPLICAOF", "127.0.0.1", 1)
        await eventually(lambda: says(client, "is a read-only replica"))
        await admin.execute_command("REPLICAOF", "NO", "ONE")
        await eventually(lambda: is_well(client))

        await admin.config_set("maxmemory", 1)
        await eventually(lambda: says(client, "full: "))
        await admin.config_set("maxmemory", 0)
        await eventually(lambda: is_well(client))


async def test_a_disk_that_takes_nothing_is_told(server: devstack.redis_server.Redis):
    async with running_gateway(redis_url=server.url) as client, Redis.from_url(server.url) as admin:
        await eventually(lambda: is_well(client))
        await admin.config_set("appendonly", "no")
        # A folder in the place of the file that Redis would rename its snapshot to.
        (server.folder / "dump.rdb").unlink(missing_ok=True)
        (server.folder / "dump.rdb" / "in the way").mkdir(parents=True)
        await admin.execute_command("BGSAVE")

        await eventually(lambda: says(client, "cannot write to its disk", "MISCONF"), timeout_s=20)


@pytest.mark.timeout(180)
async def test_a_refusal_is_one_problem_and_workers_are_not_called_silent_for_it(
    server: devstack.redis_server.Redis, amqp_url: str, tmp_path: Path
):
    deployment = Deployment(amqp_url=amqp_url, redis_url=server.url, folder=tmp_path)
    async with (
        running_gateway(amqp_url=amqp_url, redis_url=server.url) as client,
        Redis.from_url(server.url) as admin,
        deployment.worker("threads") as worker,
    ):

        async def workers() -> list[str]:
            answer = await client.get("/v1/workers")
            return [one["status"] for one in (await answer.json())["workers"]]

        async def works() -> bool:
            return await workers() == ["online"] and await problems(client) == {}

        async def seems_silent() -> bool:
            assert set(await problems(client)) <= {"redis-refuses"}
            return await workers() == ["silent"]

        async def told() -> bool:
            found = await problems(client)
            return "NOREPLICAS" in found.get("redis-refuses", "") and await redis_up(client) == 0

        await eventually(works, 30, 0.2)
        assert await redis_up(client) == 1

        await admin.config_set("min-replicas-to-write", 1)
        await eventually(told, 20, 0.2)
        body = {"task": "demo.add", "args": [1, 2]}
        task = await (await client.post("/v1/tasks", json=body)).json()
        await eventually(seems_silent, SILENT_AFTER_S + 20, 0.2)
        assert set(await problems(client)) == {"redis-refuses"}

        await admin.config_set("min-replicas-to-write", 0)

        async def mended() -> bool:
            assert set(await problems(client)) <= {"redis-refuses"}
            return await works()

        await eventually(mended, 20, 0.1)
        answer = await client.get(f"/v1/tasks/{task['id']}?wait=30")
        assert (await answer.json())["result"] == 3
        assert await redis_up(client) == 1

        await worker.kill()
        await eventually(lambda: is_found(client, "worker-silent"), SILENT_AFTER_S + 20, 0.5)


async def is_found(client: Any, code: str) -> bool:
    return code in await problems(client)


async def test_a_cluster_is_told(tmp_path: Path):
    server = devstack.redis_server.Redis(tmp_path, more=["cluster-enabled yes"])
    await server.start()
    async with Redis.from_url(server.url) as admin, running_gateway(redis_url=server.url) as client:
        await eventually(lambda: says(client, "is a Redis Cluster, which is not supported"))
        await admin.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)

        await eventually(lambda: says(client, "is a Redis Cluster", "slot"), timeout_s=20)
        status, problem = await claim(client)
        assert (status, problem["code"]) == (503, "state-unavailable")
        assert "is a Redis Cluster, which is not supported" in problem["detail"]
    await server.kill()


async def test_a_claim_that_no_replica_has_is_refused_and_free_again(
    server: devstack.redis_server.Redis,
):
    async with (
        running_gateway(redis_url=server.url, redis_wait_replicas=1) as client,
        Redis.from_url(server.url) as admin,
    ):
        await eventually(lambda: says(client, "did not copy it to a replica", "0 replicas of 1"))

        status, problem = await claim(client)

        assert (status, problem["code"], problem["queued"]) == (503, "state-unavailable", "no")
        assert "did not copy it to a replica in time" in problem["detail"]
        assert await admin.keys("penstock:idempotency:*") == []
        assert await admin.hvals("penstock:kept:idempotency:anonymous") == [b"0"]
