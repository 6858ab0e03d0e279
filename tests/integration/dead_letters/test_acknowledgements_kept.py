"""What is acknowledged does not come back, also when RabbitMQ applies acknowledgements late.

RabbitMQ forgets acknowledgements that it holds back when their channel is closed: many in a row,
while others keep its disk busy.
"""

import asyncio
import os
import signal
import uuid
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import aio_pika
import pytest
from aiormq.abc import AbstractChannel
from pamqp.commands import Basic

from tests.deployment.workers import Deployment
from tests.support.dead_letters import BODY, replay
from tests.support.waiting import eventually

COUNT = 240
ROUNDS = 2
BUSY = ("busy-1", "busy-2")
QUORUM: Any = {"x-queue-type": "quorum"}


@pytest.fixture
async def channel(amqp_url) -> AsyncIterator[AbstractChannel]:
    """A channel beside publishers that keep quorum queues busy."""
    connection = await aio_pika.connect(amqp_url)
    underlay = (await connection.channel()).get_underlay_channel  # opened by the first call

    async def publish(queue: str) -> None:
        lent = await (await connection.channel()).get_underlay_channel()
        await lent.queue_declare(queue, durable=True, arguments=QUORUM)
        while True:
            some = (lent.basic_publish(b"x" * 2_000, routing_key=queue) for _ in range(50))
            await asyncio.gather(*some)

    publishers = [asyncio.create_task(publish(queue)) for queue in BUSY]
    channel = await underlay()
    yield channel
    for one in publishers:
        one.cancel()
    await asyncio.gather(*publishers, return_exceptions=True)
    for queue in BUSY:
        await channel.queue_delete(queue)
    await connection.close()


async def fill(channel: AbstractChannel, queue: str) -> None:
    """Put tasks into a queue."""

    async def put() -> None:
        task_id = str(uuid.uuid4())
        headers: Any = {"id": task_id, "task": "demo.add", "lang": "py", "retries": 0}
        properties = Basic.Properties(
            content_type="application/json", headers=headers, message_id=task_id
        )
        await channel.basic_publish(BODY, routing_key=queue, properties=properties)

    await asyncio.gather(*(put() for _ in range(COUNT)))


async def count(channel: AbstractChannel, queue: str) -> int:
    return (await channel.queue_declare(queue, passive=True)).message_count or 0


async def stays(channel: AbstractChannel, queue: str, expected: int) -> None:
    """Wait for a count; what RabbitMQ gives back, it gives back when the channel is closed."""

    async def reached() -> bool:
        return await count(channel, queue) == expected

    await eventually(reached, 10)
    await asyncio.sleep(0.3)
    assert await count(channel, queue) == expected


async def test_purged_tasks_do_not_come_back(client, channel):
    for _ in range(ROUNDS):
        await fill(channel, "default")
        async with client.post("/v1/queues/default/purge") as answer:
            begun = await answer.json()

        async def done(operation: str = begun["operation"]) -> Any:
            async with client.get(f"/v1/operations/{operation}") as answer:
                one = await answer.json()
            return one if one["state"] == "done" else None

        found = await eventually(done, 60, 0.2)
        assert (found["of"], found["done"]) == (COUNT, COUNT)
        await stays(channel, "default", 0)


async def test_discarded_letters_do_not_come_back(client, channel):
    for _ in range(ROUNDS):
        await fill(channel, "default.dead")
        asked = {"all": True}
        async with client.post("/v1/dead-letters/default/discard", json=asked) as answer:
            assert (await answer.json())["discarded"] == COUNT
        await stays(channel, "default.dead", 0)


async def test_replayed_letters_do_not_come_back(client, channel):
    for turn in range(ROUNDS):
        await fill(channel, "default.dead")
        assert (await replay(client, {"all": True, "rate": 10_000}))["replayed"] == COUNT
        await stays(channel, "default.dead", 0)
        assert await count(channel, "default") == COUNT * (turn + 1)


@pytest.fixture
async def busy_disk(tmp_path: Path) -> AsyncIterator[None]:
    """Writes that keep the disk of every queue busy."""
    program = f"while :; do dd if=/dev/zero of={tmp_path}/busy bs=1M count=64 oflag=dsync; done"
    child = await asyncio.create_subprocess_exec(
        "sh", "-c", program, stderr=asyncio.subprocess.DEVNULL, process_group=0
    )
    yield
    os.killpg(child.pid, signal.SIGKILL)
    await child.wait()


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_what_a_worker_has_ended_does_not_come_back(amqp_url, redis_url, tmp_path, busy_disk):
    """Without the worker's wait 60, 8 and 18 came back in one run, none in another: it depends on
    what else keeps the disk busy.
    """
    deployment = Deployment(amqp_url=amqp_url, redis_url=redis_url, folder=tmp_path)
    came_back = []
    for number in range(12):
        with deployment.publishing():
            ids = [deployment.publish("demo.doze", [f"{number}", 0]) for _ in range(150)]

        def all_ended(ids: list[str] = ids) -> bool:
            return all(deployment.record(one).get("status") == "SUCCESS" for one in ids)

        start = partial(deployment.worker, "threads", "--prefetch-multiplier=20", concurrency=8)
        async with start():
            await eventually(all_ended, 60, 0.01)
        came_back.append(deployment.depth("default"))
        async with start():
            await eventually(lambda: deployment.depth("default") == 0, 30)
    assert came_back == [0] * 12
