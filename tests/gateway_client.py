"""The real gateway application on a port, for tests that speak HTTP to it."""

import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp.test_utils import TestClient, TestServer

from gateway.api import parts
from gateway.app import make_app
from gateway.config import GatewayConfig
from tests.waiting import eventually

SIGNING_KEYS = ((0, b"tests sign with this key, nobody else"),)


@asynccontextmanager
async def running_gateway(
    config: GatewayConfig, *, ready: bool = True, **changes: Any
) -> AsyncIterator[TestClient[Any, Any]]:
    """Serve a gateway and give a client of it.

    Args:
        config: What to serve.
        ready: Wait until it is connected to RabbitMQ.
        changes: Fields of the configuration to replace.
    """
    config = dataclasses.replace(config, task_id_keys=SIGNING_KEYS, **changes)
    app = make_app(config)
    server = TestServer(app)
    # As the real server does it: bodies are expanded by the gateway, within bounds.
    await server.start_server(auto_decompress=False)
    async with TestClient(server) as client:
        if ready:
            await eventually(lambda: app[parts.BROKER].publisher.state == "ready", timeout_s=20)
        yield client
