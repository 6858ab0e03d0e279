"""An app on each version of Celery that is supported: ends, revocations, delays, canvases."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bench.peers import install, python_of
from gateway.config import GatewayConfig
from tests.deployment.gateway import Gateway, running_gateway
from tests.deployment.workers import Deployment
from tests.support.celery_apps import DEPLOYMENT, LAYOUT, WORKER, revoke, state_of, submit
from tests.support.waiting import eventually

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]
QUEUES = WORKER[1:]


@pytest.fixture(params=["5.4", "5.5", "5.6"])
def stock(
    request: pytest.FixtureRequest, amqp_url: str, redis_url: str, tmp_path: Path
) -> Deployment:
    """The app in an environment of its own; this project's own has the newest Celery."""
    name = f"celery-{request.param}"
    install(name)
    return Deployment(
        amqp_url=amqp_url, redis_url=redis_url, folder=tmp_path, python=python_of(name),
        app=DEPLOYMENT["app"],
    )  # fmt: skip


@pytest.fixture
async def gateway(stock: Deployment) -> AsyncIterator[Gateway]:
    layout = stock.folder / "layout.toml"
    layout.write_text(LAYOUT)
    config = GatewayConfig(amqp_url=stock.amqp_url, redis_url=stock.redis_url, topology_file=layout)
    async with running_gateway(config) as client:
        yield client


async def test_an_app_on_an_older_celery(stock: Deployment, gateway: Gateway):
    async with stock.worker("prefork", *QUEUES, concurrency=1):
        assert (await submit(gateway, "add", 2, 3))["result"] == 5
        assert (await submit(gateway, "fail", "no"))["error"]["type"] == "ValueError"
        assert (await submit(gateway, "again", 2))["result"] == 2
        chain = [{"task": "proj.add", "args": [1, 2]}, {"task": "proj.add", "args": [3]}]
        async with gateway.post("/v1/canvas?wait=20", json={"chain": chain}) as answer:
            assert (await answer.json())["result"] == 6

        slow = await submit(gateway, "slow", 600, wait=0)
        await eventually(lambda: stock.record(slow["id"]).get("status") == "STARTED", 20)
        waiting = [await submit(gateway, "note", "waiting", wait=0) for _ in range(20)]
        delayed = [
            await submit(gateway, "note", "delayed", wait=0, countdown=30) for _ in range(20)
        ]
        for task in waiting + delayed:
            assert (await revoke(gateway, task["id"]))["revoking"] is True
        for task in waiting + delayed:
            assert (await state_of(gateway, task["id"]))["state"] == "PENDING"
        await revoke(gateway, slow["id"], "?terminate=true")
        assert (await state_of(gateway, slow["id"], "?wait=20"))["state"] == "REVOKED"
        for task in waiting:
            assert (await state_of(gateway, task["id"], "?wait=20"))["state"] == "REVOKED"
    async with stock.worker("prefork", *QUEUES, name="again", concurrency=1):
        for task in delayed:
            assert (await state_of(gateway, task["id"], "?wait=60"))["state"] == "REVOKED"
        await submit(gateway, "note", "last")

    assert stock.runs == ["last"]
