"""What applications have beside Celery does in coroutines what it does in functions."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bench.peers import install, python_of
from tests.deployment.workers import Deployment
from tests.waiting import eventually

pytestmark = [
    pytest.mark.bare_vhost,
    pytest.mark.long,
    pytest.mark.timeout(240),
    pytest.mark.parametrize("installed", ["", "1"], ids=["plain", "one line"]),
]


@pytest.fixture
async def worker(
    installed: str, amqp_url: str, redis_url: str, tmp_path: Path
) -> AsyncIterator[Deployment]:
    """A worker with the asyncio pool."""
    install("neighbours")
    deployment = Deployment(
        amqp_url=amqp_url,
        redis_url=redis_url,
        folder=tmp_path,
        app="tests.conformance.neighbours_app",
        python=python_of("neighbours"),
        env={"INSTALL": installed},
    )
    async with deployment.worker("asyncio", concurrency=10):
        yield deployment


def publish(worker: Deployment, task: str, *args: Any) -> str:
    name = f"tests.conformance.neighbours_app.{task}"
    return worker.publish(
        name, args, exchange="", routing_key="beside", argsrepr=repr(args), kwargsrepr="{}"
    )


async def result(worker: Deployment, task: str, *args: Any) -> Any:
    record = await worker.ended(publish(worker, task, *args))
    return record["result"] if record["status"] == "SUCCESS" else record["result"]["exc_type"]


async def test_a_dead_connection_of_django_is_closed(worker: Deployment):
    assert await result(worker, "asks") == 1
    assert await result(worker, "loses") is None
    assert [await result(worker, "asks") for _ in range(3)] == [1, 1, 1]


async def test_a_connection_that_a_coroutine_uses_is_closed_only_if_it_is_dead(worker: Deployment):
    iterates = publish(worker, "iterates", 3)
    await eventually(lambda: "iterates" in worker.runs, 10)
    assert [await result(worker, "asks") for _ in range(2)] == [1, 1]
    assert (await worker.ended(iterates))["result"] == 9

    publish(worker, "iterates", 5)
    await eventually(lambda: worker.runs.count("iterates") == 2, 10)
    assert await result(worker, "loses") is None
    assert [await result(worker, "asks") for _ in range(3)] == ["ProgrammingError", 1, 1]
