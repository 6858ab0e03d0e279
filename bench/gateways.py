"""A gateway, and workers behind it, for the parts that measure nothing else."""

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from bench.contestants import GATEWAY, Contestant
from bench.processes import Running
from bench.servers import Servers
from devstack.process import Process
from devstack.product import COROUTINES, Launcher, WorkerSpec

DOCUMENT_WORKER = WorkerSpec(
    name="documents", pool="asyncio", queues=("mongo_queue",), concurrency=COROUTINES
)
"""The worker that `make run` starts for documents."""


@asynccontextmanager
async def serving(
    servers: Servers,
    contestants: Sequence[Contestant] = (GATEWAY,),
    *,
    workers: Sequence[WorkerSpec] = (),
    env: Mapping[str, str] | None = None,
) -> AsyncIterator[list[Running]]:
    """Start HTTP servers and workers, all ready at once; end them afterwards.

    Args:
        servers: What they talk to.
        contestants: The HTTP servers.
        workers: Celery workers of ours.
        env: Further variables of the HTTP servers.
    """
    async with AsyncExitStack() as stack:
        launcher = Launcher(env={**os.environ, **servers.env}, logs=servers.folder)
        units: list[Process] = [launcher.worker(spec) for spec in workers]
        running = [Running(one, servers, env=env) for one in contestants]
        for unit in [*units, *(one.process for one in running)]:
            stack.push_async_callback(unit.kill)
            await unit.start()
        yield running
