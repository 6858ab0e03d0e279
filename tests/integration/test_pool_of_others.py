"""What an application gives its pool itself is executed as without the library."""

from pathlib import Path

import pytest

from tests.deployment.workers import Deployment
from tests.support.waiting import eventually


@pytest.mark.parametrize("pool", ["threads", "asyncio"])
async def test_a_pool_executes_what_is_no_delivery(
    pool: str, amqp_url: str, redis_url: str, tmp_path: Path
):
    deployment = Deployment(
        amqp_url=amqp_url, redis_url=redis_url, folder=tmp_path, app="tests.apps.batches_app"
    )
    async with deployment.worker(pool):
        for number in (2, 3):
            deployment.publish("batches.total", [number], exchange="", routing_key="batches")

        await eventually(lambda: deployment.runs == ["accepted", "total 5", "returned None"], 10)
