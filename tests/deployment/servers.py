"""Fixtures: real servers, started once a session when first asked for, and a corner for each test.

`amqp_url` is a virtual host with the layout that ships and no messages; with nothing in it for a
test that has the mark `bare_vhost`. `redis_url` is an emptied database, `mongo_url` a fresh one.
"""

import os
import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
import redis.asyncio
from pymongo import AsyncMongoClient

from devstack.mongo import Mongo
from devstack.rabbit import Rabbit
from devstack.rabbit_container import rabbit_for
from devstack.redis_server import Redis
from tests.deployment.vhosts import VirtualHosts


async def _up(server: Rabbit | Redis | Mongo) -> None:
    """Start a server that an earlier test killed, and failed before it had started it again."""
    if not server.child.running:
        await server.start()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def rabbit(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rabbit]:
    """A RabbitMQ node; a test that kills it starts it again."""
    image = os.environ.get("RABBITMQ_IMAGE")
    server = rabbit_for(image, tmp_path_factory.mktemp("rabbit"))
    await server.start()
    yield server
    await server.kill()  # its data is not needed again
    await server.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def redis_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Redis]:
    """A Redis server; a test that kills it starts it again."""
    server = Redis(tmp_path_factory.mktemp("redis"), password=secrets.token_hex(8))
    await server.start()
    yield server
    await server.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def mongo(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mongo]:
    """A mongod; a test that kills it starts it again."""
    server = Mongo(tmp_path_factory.mktemp("mongo"))
    await server.start()
    yield server
    await server.kill()


@pytest.fixture(scope="session")
def vhosts(rabbit: Rabbit) -> VirtualHosts:
    """The virtual hosts of that node."""
    return VirtualHosts(rabbit)


@pytest_asyncio.fixture
async def amqp_url(
    request: pytest.FixtureRequest, rabbit: Rabbit, vhosts: VirtualHosts
) -> AsyncIterator[str]:
    """The address of a virtual host with the layout that ships, or bare where it is marked so."""
    await _up(rabbit)
    bare = request.node.get_closest_marker("bare_vhost")
    async with vhosts.empty() if bare else vhosts.declared() as url:
        yield url


@pytest_asyncio.fixture
async def redis_url(redis_server: Redis) -> AsyncIterator[str]:
    """The address of a database with nothing in it."""
    await _up(redis_server)
    async with redis.asyncio.from_url(redis_server.url) as client:
        await client.flushall()
    yield redis_server.url


@pytest_asyncio.fixture
async def mongo_url(mongo: Mongo) -> AsyncIterator[str]:
    """The address of a fresh database."""
    await _up(mongo)
    database = f"test-{secrets.token_hex(6)}"
    yield mongo.url_of(database)
    client: AsyncMongoClient[Any] = AsyncMongoClient(mongo.url, serverSelectionTimeoutMS=3_000)
    async with client:
        await client.drop_database(database)
