"""The gateway in front of the app, and the app's worker."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from kombu.connection import Connection

from gateway.api import parts
from gateway.config import GatewayConfig
from tests.deployment.gateway import Gateway, running_gateway
from tests.deployment.lasting import Lasting
from tests.support.celery_apps import LAYOUT, WORKER
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def layout_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("layout") / "layout.toml"
    file.write_text(LAYOUT)
    return file


@pytest.fixture
def config(lasting_deployment: Lasting, layout_file: Path) -> GatewayConfig:
    return GatewayConfig(
        amqp_url=lasting_deployment.amqp_url,
        redis_url=lasting_deployment.redis_url,
        topology_file=layout_file,
        callback_hosts=("127.0.0.1",),
        callback_private=True,
        callback_secret=b"secret",
    )


@pytest.fixture
async def apps(lasting_deployment: Lasting, config: GatewayConfig) -> AsyncIterator[Gateway]:
    """A gateway, and the app's worker, which has declared what is its own."""
    await lasting_deployment.clear()
    async with lasting_deployment.worker(*WORKER):
        pass  # it goes on
    with Connection(lasting_deployment.amqp_url) as connection:
        for queue in ("celery", "feeds"):
            connection.default_channel.queue_purge(queue)
    async with running_gateway(config) as gateway:
        layout = gateway.app[parts.BROKER].publisher.layout
        await eventually(lambda: not layout.shortfall, timeout_s=20)
        yield gateway
