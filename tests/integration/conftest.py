"""The real application in the test's own loop, on a fresh virtual host and an emptied Redis."""

import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from pymongo import MongoClient

from devstack.mongo import Mongo
from devstack.proxy import TcpProxy
from devstack.rabbit import Rabbit
from devstack.redis_server import Redis
from gateway.api import parts
from gateway.api.parts import WATCHING
from gateway.watching.stream_parts import StreamLimits
from tests.deployment.gateway import Gateway, running_gateway
from tests.deployment.history import RunningHistory, running_history
from tests.deployment.lasting import Lasting, lasting
from tests.deployment.vhosts import VirtualHosts
from tests.deployment.workers import Deployment
from tests.support.stream_client import Stream
from tests.support.waiting import eventually
from tests.support.worker_states import WorkerStates


@pytest.fixture
async def proxy(rabbit: Rabbit) -> AsyncIterator[TcpProxy]:
    """A way to RabbitMQ that a test cuts, stalls or narrows."""
    async with TcpProxy(rabbit.port) as proxy:
        yield proxy


@pytest.fixture
async def make_gateway(amqp_url, redis_url):
    """Make a gateway that is ready to publish; keyword arguments are fields of its config."""
    async with AsyncExitStack() as gateways:

        async def make(**fields: Any) -> Gateway:
            urls = {"amqp_url": amqp_url, "redis_url": redis_url}
            return await gateways.enter_async_context(running_gateway(**{**urls, **fields}))

        yield make


@pytest.fixture
async def gateway(make_gateway):
    """A gateway without keys: the caller is anonymous and may do everything."""
    return await make_gateway()


@pytest.fixture
async def make_watching_gateway(redis_url):
    """Make a gateway that is connected to Redis alone; what it publishes is refused."""
    async with AsyncExitStack() as gateways:

        async def make(limits: StreamLimits | None = None, **fields: Any) -> Gateway:
            def prepare(app: web.Application) -> None:
                if limits is not None:
                    app[WATCHING].streams.limits = limits

            serving = running_gateway(**{"redis_url": redis_url, "prepare": prepare, **fields})
            client = await gateways.enter_async_context(serving)
            await eventually(lambda: client.app[parts.WATCHING].watch.online, timeout_s=10)
            return client

        yield make


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

    async def make(**fields: Any) -> Gateway:
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
    """A deployment of `tests.apps.canvas_app`."""
    return Deployment(
        amqp_url=amqp_url, redis_url=redis_url, folder=tmp_path, app="tests.apps.canvas_app"
    )


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def lasting_deployment(
    request: pytest.FixtureRequest,
    vhosts: VirtualHosts,
    redis_server: Redis,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Lasting]:
    """The deployment of a module; its `DEPLOYMENT` gives further fields."""
    fields = getattr(request.module, "DEPLOYMENT", {})
    folder = tmp_path_factory.mktemp("lasting")
    async with lasting(vhosts, redis_server, folder, **fields) as deployment:
        yield deployment


@pytest.fixture(scope="module")
def history_url(mongo: Mongo) -> Iterator[str]:
    """The address of a database with the indexes of history, once it was used."""
    name = f"history-{secrets.token_hex(6)}"
    yield mongo.url_of(name)
    client: MongoClient[Any] = MongoClient(mongo.url, serverSelectionTimeoutMS=3_000)
    with client:
        client.drop_database(name)


@pytest.fixture
async def history(history_url: str) -> AsyncIterator[RunningHistory]:
    """A query server of history on a real MongoDB, with nothing in its collections."""
    async with running_history(history_url) as running:
        database = running.database
        for one in (
            database.tasks, database.failures, database.operations, database.operation_items,
        ):  # fmt: skip
            await one.delete_many({})
        yield running
