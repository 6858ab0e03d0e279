"""A worker whose connection is lost again while it connects tries again, and does not end."""

from pathlib import Path

import pytest

from devstack.process import Process
from devstack.product import celerys_pool
from tests.deployment.workers import Deployment


@pytest.mark.parametrize("pool", ["threads", "prefork", "asyncio"])
async def test_a_worker_lives_when_its_new_connection_is_lost_too(
    amqp_url: str, redis_url: str, tmp_path: Path, pool: str
):
    deployment = Deployment(amqp_url=amqp_url, redis_url=redis_url, folder=tmp_path)
    child = deployment.celery(
        "w", "worker", "-l", "info", "-n", "w@%h", "-P", celerys_pool(pool), "-c", "2",
        app="tests.apps.losing_app",
    )  # fmt: skip

    async def ready() -> bool:
        return b" ready." in child.logged()

    await Process(child, ready).start()
    try:
        done = deployment.publish("demo.add", [1, 2])

        assert (await deployment.ended(done, 30))["result"] == 3
        assert b"Connection to broker lost" in child.logged()
        assert child.running
    finally:
        await child.stop(10)
