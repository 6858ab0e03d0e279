"""The bench's own RabbitMQ, Redis and MongoDB, and the layout on them."""

import asyncio
import contextlib
import json
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import aio_pika
from redis.asyncio import Redis as RedisClient
from redis.exceptions import ConnectionError as RedisConnectionError

from devstack.certificates import Certificates
from devstack.mongo import Mongo
from devstack.rabbit import Rabbit
from devstack.redis_server import Redis
from penstock import VERSION
from penstock.wire.announcements import CATALOG_KEY
from penstock.worker.consuming.announce import encode
from penstock.worker.consuming.signatures import describe
from penstock.worker.running.task_function import TaskFunction
from tasks.registry import TASKS
from topology.declare import declare
from topology.layout import load
from topology.model import Topology

QUEUE = "default"
"""Every contestant publishes to this one: quorum, durable, dead-lettering, bounded."""
_ANNOUNCE_EVERY_S = 10.0


@dataclass(slots=True)
class Servers:
    """Running servers, private to one run."""

    folder: Path
    rabbit: Rabbit
    redis: Redis
    mongo: Mongo | None
    topology: Topology = field(default_factory=load)

    @property
    def env(self) -> dict[str, str]:
        """Addresses for contestants."""
        addresses = {
            "AMQP_URL": self.rabbit.url,
            "REDIS_URL": self.redis.url,
            "RABBITMQ_MANAGEMENT_URL": self.rabbit.management_url,
        }
        return addresses | ({"MONGO_URL": self.mongo.url} if self.mongo else {})

    async def purge(self, queues: Iterable[str] = (QUEUE,)) -> int:
        """Empty queues; how many messages were there."""
        removed = 0
        async with await aio_pika.connect(self.rabbit.url) as connection:
            channel = await connection.channel()
            for name in queues:
                queue = await channel.get_queue(name)
                removed += (await queue.purge()).message_count or 0
        return removed

    async def depth(self, name: str = QUEUE) -> int:
        """Messages that are ready in a queue."""
        async with await aio_pika.connect(self.rabbit.url) as connection:
            channel = await connection.channel()
            queue = await channel.declare_queue(name, passive=True)
            return queue.declaration_result.message_count or 0


@contextlib.asynccontextmanager
async def running(
    *, mongo: bool = False, tls: Certificates | None = None
) -> AsyncIterator[Servers]:
    """Start servers with the shipped layout in a folder of their own; remove it at the end.

    Args:
        mongo: Whether MongoDB is needed.
        tls: RabbitMQ and Redis speak TLS and nothing else; plain by default.

    Raises:
        StartError: One did not become ready.
    """
    folder = Path(tempfile.mkdtemp(prefix="penstock-bench-"))
    servers = Servers(
        folder,
        Rabbit(folder / "rabbitmq", tls=tls),
        Redis(folder / "redis", tls=tls),
        Mongo(folder / "mongo") if mongo else None,
    )
    units = [unit for unit in (servers.rabbit, servers.redis, servers.mongo) if unit is not None]
    try:
        await asyncio.gather(*(unit.start() for unit in units))
        async with await aio_pika.connect(servers.rabbit.url) as connection:
            await declare(connection, servers.topology)
        announcing = asyncio.create_task(_announce(servers.redis.url), name="announce")
        try:
            yield servers
        finally:
            announcing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await announcing
    finally:
        for unit in units:
            await unit.stop()
        shutil.rmtree(folder, ignore_errors=True)


async def _announce(url: str) -> None:
    """Announce the shipped tasks as a worker would, so that arguments are checked."""
    described = [
        describe(spec.name, TaskFunction.of(spec.run, takes_self=False), VERSION) for spec in TASKS
    ]
    async with RedisClient.from_url(url) as client:
        while True:
            with contextlib.suppress(RedisConnectionError):  # a part that kills Redis
                for one in described:
                    await client.hset(CATALOG_KEY, one.field, encode(one, time.time()))
            await asyncio.sleep(_ANNOUNCE_EVERY_S)


def versions(servers: Servers) -> dict[str, str]:
    """Which servers were measured, from their own words."""
    found: dict[str, str] = {}
    log = servers.rabbit.child.log.read_text(errors="replace")
    for line in log.splitlines():
        if "Starting RabbitMQ" in line:
            words = line.split()
            found["rabbitmq"] = words[words.index("RabbitMQ") + 1]
    if servers.mongo is not None:
        for line in servers.mongo.child.log.read_text(errors="replace").splitlines():
            if '"Build Info"' in line:
                found["mongodb"] = json.loads(line)["attr"]["buildInfo"]["version"]
    for line in servers.redis.child.log.read_text(errors="replace").splitlines():
        if "Redis version=" in line:
            found["redis"] = line.split("Redis version=")[1].split(",")[0]
    return found
