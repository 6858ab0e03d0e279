"""Messages that are no tasks, and a task that kills its process: ended, told, and survived."""

import json
from typing import Any

import aio_pika
import pytest

from devstack.drill.direct import task_message
from devstack.drill.poison import POISON
from devstack.stack import Stack
from tests.faults.conftest import DELIVERY_LIMIT
from tests.faults.test_servers_killed import states, submit
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(180)

DELIVERIES = DELIVERY_LIMIT + 1
"""The limit counts those after the first."""


async def letters(http: Any, queue: str) -> dict[str, Any]:
    async with http.get(f"/v1/dead-letters/{queue}", params={"limit": 100}) as response:
        answer = await response.json()
        assert response.status == 200, answer
        return answer


async def test_each_kind_of_poison_is_dead_lettered_and_the_worker_lives(stack: Stack, http):
    worker = stack.units["worker-all"].child
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


async def test_a_task_that_kills_its_process_each_time_ends_dead_lettered(stack: Stack, http):
    worker = stack.units["worker-all"].child
    if "--pool=threads" in worker.argv:
        return  # there it is the worker itself that dies; `make run` and compose start it again
    pid = worker.pid
    task_id = await submit(http, "scripts.run", "kill_parent.sh")
    async with http.get(f"/v1/tasks/{task_id}/stream") as stream:
        told = [json.loads(line[5:]) async for line in stream.content if line[:5] == b"data:"]
    async with http.get(f"/v1/tasks/{task_id}", params={"wait": 60}) as response:
        ended = await response.json()

    assert (ended["state"], ended["error"]["type"]) == ("FAILURE", "DeadLettered")
    assert (told[-1]["state"], told[-1]["error"]["type"]) == ("FAILURE", "DeadLettered")
    starts = sum(event.get("state") == "STARTED" for event in told)
    assert DELIVERIES - 1 <= starts <= DELIVERIES  # the stream may have begun after the first
    listed = await letters(http, "scripts")
    assert [letter["id"] for letter in listed["letters"]] == [task_id]
    assert listed["letters"][0]["reason"] == "delivery-limit"
    assert worker.pid == pid
    assert await eventually(lambda: submit(http, "demo.add", 1, 2))
