"""A deployment for the tests of one module, whose worker goes on from one test to the next.

A worker takes seconds to start and to stop. Here `worker()` takes the one that runs where it is of
the wanted kind, and leaves it running; a test that needs none at first calls `rest()`.
"""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devstack.process import Process
from devstack.redis_server import Redis
from penstock.wire.announcements import CATALOG_KEY, WORKERS_KEY
from tests.deployment.vhosts import VirtualHosts
from tests.deployment.workers import Deployment

_DATABASE = 1
"""Of Redis; those of tests that share no worker are in 0."""
_KEPT = {CATALOG_KEY, WORKERS_KEY}
"""What a running worker has announced."""


@dataclass(kw_only=True)
class Lasting(Deployment):
    """A deployment that outlives a test."""

    vhosts: VirtualHosts

    def __post_init__(self) -> None:
        super().__post_init__()
        self._kind: tuple[Any, ...] = ()
        self._running: Process | None = None

    @contextlib.asynccontextmanager
    async def worker(
        self,
        pool: str = "threads",
        *arguments: str,
        name: str = "w",
        concurrency: int = 2,
        app: str = "",
    ) -> AsyncIterator[Process]:
        """Give the running worker, or start another in its place; it must outlive the test."""
        kind = (pool, arguments, name, concurrency, app)
        if self._running is None or kind != self._kind or not self._running.child.running:
            await self.rest()
            self._running, self._kind = (
                self.make_worker(pool, *arguments, name=name, concurrency=concurrency, app=app),
                kind,
            )
            await self._running.start()
        try:
            yield self._running
            assert self._running.child.running, self._running.child.log_tail()
        except BaseException:
            await self.rest()
            raise

    async def rest(self) -> None:
        """Stop the worker."""
        if self._running is not None:
            await self._running.child.stop(10)
            self._running = None

    async def forget(self) -> None:
        """Stop the worker, and forget what it announced, before a gateway starts and reads that."""
        await self.rest()
        self.redis.delete(*_KEPT)

    async def clear(self) -> None:
        """Forget messages, records and runs of the tests before."""
        await self.vhosts.purge(self.amqp_url)
        if keys := set(self.redis.keys("*")) - _KEPT:
            self.redis.delete(*keys)
        self.runs_file.write_text("", encoding="utf-8")


@contextlib.asynccontextmanager
async def lasting(
    vhosts: VirtualHosts, redis_server: Redis, folder: Path, **fields: Any
) -> AsyncIterator[Lasting]:
    """Give the deployment of one module; `fields` are those of `Deployment`."""
    async with vhosts.declared() as amqp_url:
        deployment = Lasting(
            amqp_url=amqp_url,
            redis_url=redis_server.url_of(_DATABASE),
            folder=folder,
            vhosts=vhosts,
            **fields,
        )
        deployment.redis.flushdb()
        try:
            yield deployment
        finally:
            await deployment.rest()
