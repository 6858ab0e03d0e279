"""A worker that is told to stop ends, whatever its children still have to say."""

from pathlib import Path

import pytest

from tests.tasks_core_deployment import Deployment
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(120)


@pytest.mark.parametrize("size", [10, 61_000, 64_000, 70_000, 200_000])
async def test_it_ends_with_a_long_reason_on_its_way(
    amqp_url: str, redis_url: str, tmp_path: Path, size: int
):
    deployment = Deployment(amqp_url=amqp_url, redis_url=redis_url, folder=tmp_path)
    async with deployment.worker("prefork", concurrency=2) as worker:
        deployment.publish("demo.bulky", ["long", 2, size])
        await eventually(lambda: deployment.runs)
        await worker.child.stop(25)
        assert worker.child.returncode == 0
