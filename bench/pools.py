"""Celery workers that are compared: how each is started, and what it promises."""

import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal

import aio_pika

from bench.servers import QUEUE, Servers
from devstack.children import Child
from devstack.process import Process
from devstack.product import CUSTOM_POOL, ROOT, celerys_pool

OURS = "tasks.worker"
_STOP_WITHIN_S = 20.0
_READY_WITHIN_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """One worker."""

    name: str
    """In result files."""
    called: str
    """In tables, with its concurrency."""
    application: str = OURS
    """Module of its Celery application: ours with `coroutine_tasks`, or stock Celery's."""
    pool: Literal["asyncio", "threads", "prefork"]
    concurrency: int
    promises: bool = True
    """Late acknowledgement and STARTED, of which stock Celery's defaults have none."""
    telling: Literal["nothing", "events", "all"] = "nothing"
    """`events`: what Flower reads. `all`: as `make run` starts workers, log lines at INFO too."""
    tasks: int = 3_000
    """How many it executes in one run: enough for some seconds."""
    prefetch: int = 1
    """Messages that RabbitMQ sends ahead for each slot."""
    tls: bool = False
    """Whether RabbitMQ and Redis are reached over TLS."""

    @property
    def title(self) -> str:
        """What it is called in tables."""
        return f"{self.called} (-c {self.concurrency})"

    @property
    def ours(self) -> bool:
        """Whether it is a worker of ours."""
        return self.application == OURS

    @property
    def options(self) -> list[str]:
        """Arguments of `celery worker`."""
        telling = ["--loglevel=info" if self.telling == "all" else "--loglevel=warning"]
        if self.telling != "nothing":
            telling.append("--task-events")
        if self.telling != "all":
            telling += ["--without-gossip", "--without-mingle"]
        return [
            *telling,
            f"--pool={celerys_pool(self.pool)}",
            f"--concurrency={self.concurrency}",
            f"--hostname={self.name}@%h",
            f"--queues={QUEUE}",
        ]

    @property
    def env(self) -> dict[str, str]:
        """Its variables, besides the addresses of servers."""
        return {
            "PENSTOCK_TASKS": "bench.apps.coroutine_tasks",
            "PROMISES": str(int(self.promises)),
            "PREFETCH_MULTIPLIER": str(self.prefetch),
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
        } | (CUSTOM_POOL if self.pool == "asyncio" else {})


@asynccontextmanager
async def working(
    servers: Servers, pool: Pool, env: Mapping[str, str] | None = None
) -> AsyncIterator[Process]:
    """Start a worker on the queue that every contestant has, and stop it afterwards.

    Args:
        servers: What it talks to.
        pool: How it is started.
        env: Other addresses of the servers.

    Raises:
        StartError: It does not consume; with the end of its log.
    """
    child = Child(
        pool.name,
        [sys.executable, "-m", "celery", "-A", pool.application, "worker", *pool.options],
        log=servers.folder / f"worker-{pool.name}.log",
        env={**os.environ, **servers.env, **pool.env, **(env or {})},
        cwd=ROOT,
    )
    async with await aio_pika.connect(servers.rabbit.url) as connection:
        channel = await connection.channel()

        async def consumed() -> bool:
            queue = await channel.declare_queue(QUEUE, passive=True)
            return bool(queue.declaration_result.consumer_count)

        worker = Process(
            child, consumed, start_timeout_s=_READY_WITHIN_S, stop_timeout_s=_STOP_WITHIN_S
        )
        try:
            await worker.start()
            yield worker
        finally:
            await worker.stop()
