"""A stack that tests break, with a worker of each pool; what a test leaves dead comes back."""

from collections.abc import AsyncIterator
from typing import Literal

import aiohttp
import pytest
import pytest_asyncio

from devstack.product import WorkerSpec, workers_for
from devstack.stack import Stack
from topology.layout import load

POOLS: tuple[Literal["threads", "prefork", "asyncio"], ...] = ("threads", "prefork", "asyncio")
QUEUES = tuple(queue for spec in workers_for(load().queues) for queue in spec.queues)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def kept_stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """Everything, with a worker of each pool on every queue: each takes some of the tasks."""
    workers = [WorkerSpec(name=pool, pool=pool, queues=QUEUES, concurrency=4) for pool in POOLS]
    folder = tmp_path_factory.mktemp("stack")
    scripts = folder / "scripts"
    scripts.mkdir()
    deadly = scripts / "kill_parent.sh"
    deadly.write_text("#!/bin/sh\nkill -9 $PPID\n")
    deadly.chmod(0o755)
    async with Stack(folder, workers=workers, env={"SCRIPTS_DIR": str(scripts)}) as running:
        await running.rabbit.settle()
        yield running


@pytest_asyncio.fixture
async def stack(kept_stack: Stack) -> AsyncIterator[Stack]:
    """That stack, all parts alive; what a test leaves dead is started again."""
    yield kept_stack
    await kept_stack.revive()


@pytest_asyncio.fixture
async def http(stack: Stack) -> AsyncIterator[aiohttp.ClientSession]:
    """A client whose addresses begin at the gateway: `await http.get("/v1/tasks/…")`."""
    async with aiohttp.ClientSession(stack.gateway_url) as session:
        yield session
