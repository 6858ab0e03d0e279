"""A stack that tests break: one per pool, kept for the session, brought back after each test."""

from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio

from devstack.product import WorkerSpec, workers_for
from devstack.stack import Stack
from topology.layout import DEFAULT_LAYOUT, load

DELIVERY_LIMIT = 4
"""Of the queue `scripts`, whose tasks kill their process here; 20 is what ships."""
QUEUES = tuple(queue for spec in workers_for(load().queues) for queue in spec.queues)


@pytest_asyncio.fixture(scope="session", loop_scope="session", params=["threads", "prefork"])
async def pool_stack(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stack]:
    """Everything, with one worker of that pool on every queue."""
    worker = WorkerSpec(name="all", pool=request.param, queues=QUEUES, concurrency=4)
    folder = tmp_path_factory.mktemp(f"stack-{request.param}")
    scripts = folder / "scripts"
    scripts.mkdir()
    deadly = scripts / "kill_parent.sh"
    deadly.write_text("#!/bin/sh\nkill -9 $PPID\n")
    deadly.chmod(0o755)
    layout = folder / "topology.toml"
    limited = f"[queues.scripts]\ndelivery_limit = {DELIVERY_LIMIT}\n#"
    shipped = DEFAULT_LAYOUT.read_text(encoding="utf-8")
    layout.write_text(shipped.replace("[queues.scripts]", limited), encoding="utf-8")
    env = {"SCRIPTS_DIR": str(scripts), "TOPOLOGY_FILE": str(layout)}
    async with Stack(folder, workers=[worker], env=env) as running:
        await running.rabbit.settle()
        yield running


@pytest_asyncio.fixture
async def stack(pool_stack: Stack) -> AsyncIterator[Stack]:
    """That stack, all parts alive; what a test leaves dead is started again."""
    yield pool_stack
    await pool_stack.revive()


@pytest_asyncio.fixture
async def http(stack: Stack) -> AsyncIterator[aiohttp.ClientSession]:
    """A client whose addresses begin at the gateway: `await http.get("/v1/tasks/…")`."""
    async with aiohttp.ClientSession(stack.gateway_url) as session:
        yield session
