"""Each attribute that Celery or kombu keeps about a delivery, sent as a header of each type."""

from pathlib import Path
from typing import Any

import pytest
from celery.app.task import Context

from devstack.reserved_headers import CLASSES
from penstock.wire.reserved_names import RESERVED_NAMES
from tests.deployment.workers import Deployment
from tests.support.hostile import VALUES, Hostile, account, publish, slots_work

SLOTS = 3
NAMES = sorted(
    {name for owner in CLASSES for name in dir(owner)} | set(vars(Context())) | RESERVED_NAMES
)


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("pool", "task", "args"),
    [
        ("threads", "demo.add", [1, 2]),
        ("prefork", "demo.add", [1, 2]),
        ("asyncio", "demo.add", [1, 2]),
        ("asyncio", "demo.sleep", [0]),  # a coroutine: the short way past Celery's strategy
    ],
)
async def test_no_header_of_any_type_takes_a_slot(
    amqp_url: str, redis_url: str, tmp_path: Path, pool: str, task: str, args: list[Any]
):
    deployment = Deployment(amqp_url=amqp_url, redis_url=redis_url, folder=tmp_path)
    async with deployment.worker(pool, "-Q", "high_priority", concurrency=SLOTS) as worker:
        pid = worker.child.pid
        messages = [
            Hostile(headers={"task": task, name: value}, args=args)
            for name in NAMES
            for value in VALUES
            if (name, value) != ("id", "text")
        ]
        publish(deployment, messages)

        await account(deployment, messages)
        await slots_work(deployment, SLOTS)
        assert worker.child.running
        assert worker.child.pid == pid
    assert deployment.depth("high_priority") == 0, "deliveries stayed unacknowledged"
