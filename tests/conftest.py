"""Real servers for every tier that asks: started once a session, when first asked for.

A test gets a corner of its own: `amqp_url` is a fresh virtual host, `redis_url` an emptied
database, `mongo_url` a fresh database.
"""

import os
import secrets
from collections.abc import AsyncIterator
from typing import Any

import hypothesis
import pytest
import pytest_asyncio
import redis.asyncio
from pymongo import AsyncMongoClient
from xdist.scheduler import LoadScopeScheduling

from devstack.mongo import Mongo
from devstack.rabbit import Rabbit
from devstack.rabbit_container import rabbit_for
from devstack.redis_server import Redis
from devstack.vhosts import fresh_vhost

# How long one example takes says something about the machine, nothing about the code.
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=300)
hypothesis.settings.register_profile("quick", deadline=None, max_examples=50)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "thorough"))

WHOLE_STACKS = ("tests/e2e/", "tests/faults/")
"""Folders of tests that run everything at once: two of them beside each other would be slow."""


class ByFile(LoadScopeScheduling):  # type: ignore[misc]  # pytest-xdist has no hints
    """Shares tests out among processes by file; those of whole stacks all go to one."""

    def _split_scope(self, nodeid: str) -> str:
        return "whole stacks" if nodeid.startswith(WHOLE_STACKS) else nodeid.partition("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    """Return the scheduler of a run on several processes (`-n`)."""
    return ByFile(config, log)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def rabbit(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rabbit]:
    """A RabbitMQ node; whoever kills it starts it again."""
    image = os.environ.get("RABBITMQ_IMAGE")
    server = rabbit_for(image, tmp_path_factory.mktemp("rabbit"))
    await server.start()
    yield server
    await server.kill()  # nobody needs its data
    await server.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def redis_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Redis]:
    """A Redis server; whoever kills it starts it again."""
    server = Redis(tmp_path_factory.mktemp("redis"), password=secrets.token_hex(8))
    await server.start()
    yield server
    await server.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def mongo(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mongo]:
    """A mongod; whoever kills it starts it again."""
    server = Mongo(tmp_path_factory.mktemp("mongo"))
    await server.start()
    yield server
    await server.kill()


@pytest_asyncio.fixture
async def amqp_url(rabbit: Rabbit) -> AsyncIterator[str]:
    """The address of a fresh virtual host."""
    async with fresh_vhost(rabbit) as url:
        yield url


@pytest_asyncio.fixture
async def redis_url(redis_server: Redis) -> AsyncIterator[str]:
    """The address of a database with nothing in it."""
    async with redis.asyncio.from_url(redis_server.url) as client:
        await client.flushall()
    yield redis_server.url


@pytest_asyncio.fixture
async def mongo_url(mongo: Mongo) -> AsyncIterator[str]:
    """The address of a fresh database."""
    database = f"test-{secrets.token_hex(6)}"
    yield mongo.url_of(database)
    client: AsyncMongoClient[Any] = AsyncMongoClient(mongo.url, serverSelectionTimeoutMS=3_000)
    async with client:
        await client.drop_database(database)
