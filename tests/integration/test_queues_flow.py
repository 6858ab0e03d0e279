"""What GET /v1/queues says of how a queue moves, with and without a worker."""

import time
from typing import Any

import pytest

from tests.deployment.workers import Deployment
from tests.support.waiting import eventually


@pytest.fixture
def deployment(amqp_url, redis_url, tmp_path):
    return Deployment(amqp_url=amqp_url, redis_url=redis_url, folder=tmp_path)


async def row(gateway: Any) -> dict[str, Any]:
    async with gateway.get("/v1/queues") as response:
        found = (await response.json())["queues"]
        return next(one for one in found if one["name"] == "default")


async def submit(gateway: Any, *args: Any) -> str:
    body = {"task": "demo.doze", "args": list(args)}
    async with gateway.post("/v1/tasks", json=body) as response:
        assert response.status == 202
        return str((await response.json())["id"])


@pytest.mark.parametrize("pool", ["threads", "asyncio"])
async def test_age_and_rate_are_those_of_the_queue(gateway, deployment, pool):
    async def known() -> Any:
        one = await row(gateway)
        return one if "started_per_s" in one and "drain_s" in one else None

    assert (await eventually(known, 20, 0.2))["drain_s"] == 0
    began = time.monotonic()
    ids = [await submit(gateway, f"n {n}", 0) for n in range(20)]
    last = time.monotonic()

    async def old() -> Any:
        one = await row(gateway)
        return one if one.get("oldest_s", 0) >= 2 else None

    one = await eventually(old, 20, 0.1)
    assert time.monotonic() - last - 5 <= one["oldest_s"] <= time.monotonic() - began + 5
    assert one["started_per_s"] == 0
    assert "drain_s" not in one

    async with deployment.worker(pool):
        for task_id in ids:
            await deployment.ended(task_id)

        async def moving() -> Any:
            found = await row(gateway)
            return found if found.get("started_per_s", 0) > 0 and "oldest_s" not in found else None

        one = await eventually(moving, 20, 0.2)
        assert one["started_per_s"] <= 20 / 5  # over half a minute, or what is known of it
        assert one["drain_s"] == 0
