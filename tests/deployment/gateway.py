"""A gateway in the test's own loop, on the listener of production, and an HTTP client of it."""

import dataclasses
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from yarl import URL

from gateway.api import parts
from gateway.app import add_listener, make_app
from gateway.config import GatewayConfig
from gateway.http.listener import Listener, listening
from tests.deployment.sockets import Socket
from tests.support.waiting import eventually

NOWHERE = GatewayConfig(
    amqp_url="amqp://127.0.0.1:1/",
    redis_url="redis://127.0.0.1:1/0",
    task_id_keys=((1, b"s" * 32),),
    port=0,
)
"""A gateway that reaches no server, on a free port."""


class Server(TestServer):
    """Has `aiohttp.test_utils` serve with `gateway.http.listener`."""

    def __init__(self, config: GatewayConfig) -> None:
        super().__init__(make_app(config))
        self._config = config
        self._serving = AsyncExitStack()
        self.listener: Listener
        """Set when it listens."""

    async def start_server(self, *_ignored: Any, **_too: Any) -> None:
        """Listen; a second call does nothing."""
        if self._root is None:
            added = partial(add_listener, self.app)
            serving = listening(self.app, self._config, added)
            self.listener = await self._serving.enter_async_context(serving)
            self.port = self.listener.port
            self._root = URL(f"http://{self.host}:{self.port}")

    async def close(self) -> None:
        """Reset raw connections, and drain."""
        await Socket.close_all()
        await self._serving.aclose()


class Gateway(TestClient[web.Request, web.Application]):
    """An HTTP client of a gateway that runs in the same loop: `app` and `listener` look inside."""

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self.listener.port

    @property
    def listener(self) -> Listener:
        """What it listens with."""
        assert isinstance(self.server, Server)
        return self.server.listener


@asynccontextmanager
async def running_gateway(
    config: GatewayConfig = NOWHERE,
    *,
    ready: bool | None = None,
    prepare: Callable[[web.Application], None] | None = None,
    **changes: Any,
) -> AsyncIterator[Gateway]:
    """Serve a gateway and give a client of it.

    Args:
        config: What to serve; its port does not matter, and its signing keys are those of tests.
        ready: Wait until it is connected to RabbitMQ; None: where the configuration has one.
        prepare: Given the application before it starts.
        changes: Fields of the configuration to replace.
    """
    ours = {"task_id_keys": NOWHERE.task_id_keys, "port": NOWHERE.port}
    config = dataclasses.replace(config, **{**ours, **changes})
    if ready is None:
        ready = config.amqp_url != NOWHERE.amqp_url
    server = Server(config)
    if prepare is not None:
        prepare(server.app)
    async with Gateway(server) as client:
        if ready:
            await eventually(
                lambda: client.app[parts.BROKER].publisher.state == "ready", timeout_s=30
            )
        yield client
