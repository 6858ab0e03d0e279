"""/readyz finds out whether Redis stores, whatever the reason is why it does not."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

import devstack.redis_server
from tests.deployment.gateway import running_gateway
from tests.waiting import eventually


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
