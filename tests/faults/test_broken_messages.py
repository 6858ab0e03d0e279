"""Messages that are no tasks, and a task that kills its process: ended and survived."""

from typing import Any

import aio_pika
import pytest

from devstack.children import Child
from devstack.drill.direct import task_message
from devstack.drill.poison import POISON
from devstack.stack import Stack
from tests.faults.conftest import POOLS
from tests.faults.test_servers_killed import states, submit
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(180)


async def letters(http: Any, queue: str) -> dict[str, Any]:
    async with http.get(f"/v1/dead-letters/{queue}", params={"limit": 100}) as response:
        answer = await response.json()
        assert response.status == 200, answer
        return answer


OWN_DEATHS = {"threads": 1, "prefork": 0, "asyncio": 2}
"""How often a task kills the worker itself before it has a process of its own."""


@pytest.fixture(params=[pytest.param("threads", marks=pytest.mark.long), "prefork", "asyncio"])
async def worker(request: pytest.FixtureRequest, stack: Stack) -> Child:
    """The worker of one pool, alone; the others are started again after the test."""
    for pool in POOLS:
        if pool != request.param:
            await stack.stop_part(f"worker-{pool}")
    return stack.units[f"worker-{request.param}"].child


async def test_each_kind_of_poison_is_dead_lettered_and_the_worker_lives(
    worker: Child, stack: Stack, http
):
    pid = worker.pid
    before = (await letters(http, "periodic"))["total"]
    async with await aio_pika.connect(stack.rabbit.url) as connection:
        channel = await connection.channel()
        for different in POISON.values():
            message = task_message(**{"task": "demo.add", "args": [1, 2], **different})
            await channel.default_exchange.publish(message, "periodic")
    good = await submit(http, "demo.add", 1, 2, queue="periodic")

    await eventually(lambda: _is(http, good, "SUCCESS"), 30)
    await eventually(lambda: _total(http, "periodic", before + len(POISON)), 20)
    assert worker.running
    assert worker.pid == pid


async def _total(http: Any, queue: str, count: int) -> bool:
    return (await letters(http, queue))["total"] == count


async def _is(http: Any, task_id: str, state: str) -> bool:
    return await states(http, [task_id]) == [state]


async def test_a_script_that_kills_its_process_each_time_ends_worker_lost(
    worker: Child, stack: Stack, http
):
    pid = worker.pid
    task_id = await submit(http, "scripts.run", "kill_parent.sh")
    for _ in range(OWN_DEATHS[worker.name.removeprefix("worker-")]):
        await worker.wait()
        await stack.start_part(worker.name)
        pid = worker.pid
    async with http.get(f"/v1/tasks/{task_id}", params={"wait": 60}) as response:
        ended = await response.json()

    assert (ended["state"], ended["error"]["type"]) == ("FAILURE", "WorkerLost")
    assert "signal 9 (SIGKILL)" in ended["error"]["message"]
    assert (await letters(http, "scripts"))["total"] == 0
    assert worker.pid == pid
    assert await eventually(lambda: submit(http, "demo.add", 1, 2))
