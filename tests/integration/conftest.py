"""The real application in the test's own loop, on a fresh virtual host and an emptied Redis."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from gateway.api import parts
from gateway.api.parts import WATCHING
from gateway.app import make_app
from gateway.config import GatewayConfig
from gateway.watching.stream_parts import StreamLimits
from tests.stream_client import Stream
from tests.tasks_core_deployment import Deployment
from tests.waiting import eventually
from tests.worker_states import WorkerStates

SIGNING_KEYS = ((1, b"s" * 32),)


async def serve(app: web.Application) -> TestServer:
    """Serve as `gateway.server` does: aiohttp's test server cancels handlers of clients that go."""
    server = TestServer(app)
    await server.start_server(auto_decompress=False)
    assert server.runner is not None
    assert server.runner.server is not None
    server.runner.server.handler_cancellation = False
    return server


@pytest.fixture
def make_gateway(amqp_url, redis_url, aiohttp_client):
    """Make a gateway that is ready to publish; keyword arguments are fields of its config."""

    async def make(**fields: Any) -> TestClient[Any, Any]:
        config = GatewayConfig(
            **{
                "amqp_url": amqp_url,
                "redis_url": redis_url,
                "task_id_keys": SIGNING_KEYS,
                **fields,
            }
        )
        app = make_app(config)
        client = await aiohttp_client(await serve(app))
        await eventually(lambda: app[parts.BROKER].publisher.state == "ready", timeout_s=30)
        return client

    return make


@pytest.fixture
async def gateway(make_gateway):
    """A gateway without keys: the caller is anonymous and may do everything."""
    return await make_gateway()


@pytest.fixture
def make_watching_gateway(redis_url, aiohttp_client):
    """Make a gateway that is connected to Redis alone; what it publishes is refused."""

    async def make(limits: StreamLimits | None = None, **fields: Any) -> TestClient[Any, Any]:
        config = GatewayConfig(
            **{
                "amqp_url": "amqp://127.0.0.1:1/",
                "redis_url": redis_url,
                "task_id_keys": SIGNING_KEYS,
                **fields,
            }
        )
        app = make_app(config)
        if limits is not None:
            app[WATCHING].streams.limits = limits
        client = await aiohttp_client(await serve(app))
        await eventually(lambda: app[parts.WATCHING].watch.online, timeout_s=10)
        return client

    return make


@pytest.fixture
async def worker(redis_url):
    """Writes states as workers do."""
    worker = WorkerStates.at(redis_url)
    yield worker
    await worker.client.aclose()


@pytest.fixture
async def watching(make_watching_gateway):
    """A gateway on Redis alone, its caller anonymous."""
    return await make_watching_gateway()


@pytest.fixture
def issue(watching):
    """Issue an id of the anonymous tenant."""
    return lambda **options: watching.app[parts.ACCESS].task_ids.issue("anonymous", **options)


@pytest.fixture
async def stream(watching):
    """A WebSocket without subscriptions."""
    async with watching.ws_connect("/v1/stream", protocols=["penstock.v1"]) as socket:
        yield Stream(socket)


@pytest.fixture
def make_keyed_gateway(make_watching_gateway, tmp_path):
    """Make a gateway with keys: `client.as_(name)` gives the headers of one."""

    async def make(**fields: Any) -> TestClient[Any, Any]:
        names = {"reader": ("acme", ["read"]), "submitter": ("acme", ["submit"]),
                 "other": ("other", ["read", "submit"]), "root": ("ops", ["admin"])}  # fmt: skip
        keys = tmp_path / "keys.toml"
        keys.write_text(
            "".join(
                f'[[key]]\nname = "{name}"\ntenant = "{tenant}"\nscopes = {scopes}\n'
                f'sha256 = "{sha256(name.encode()).hexdigest()}"\n'
                for name, (tenant, scopes) in names.items()
            )
        )
        client = await make_watching_gateway(keys_file=keys, **fields)
        client.as_ = lambda name: {"Authorization": f"Bearer {name}"}
        return client

    return make


@pytest.fixture
def make_keys_file(tmp_path):
    """Write a keys file with one key, `the key`, of the tenant acme."""

    def make(scopes: list[str]) -> Path:
        keys = tmp_path / "one-key.toml"
        digest = sha256(b"the key").hexdigest()
        keys.write_text(
            f'[[key]]\nname = "one"\ntenant = "acme"\nscopes = {scopes}\nsha256 = "{digest}"\n'
        )
        return keys

    return make


@pytest.fixture
def shapes_deployment(amqp_url: str, redis_url: str, tmp_path: Path) -> Deployment:
    """A deployment of `tests.canvas_app`."""
    return Deployment(
        amqp_url=amqp_url, redis_url=redis_url, folder=tmp_path, app="tests.canvas_app"
    )
