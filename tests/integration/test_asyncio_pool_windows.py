"""How many messages the broker sends ahead to a worker with the asyncio pool."""

import asyncio
from pathlib import Path
from urllib.parse import quote, urlsplit

import aiohttp
from celery import Celery

from devstack.rabbit import Rabbit
from penstock.worker.asyncio_pool.prefetch_windows import FIRST
from tests.deployment.workers import Deployment
from tests.support.waiting import eventually


async def test_a_queue_that_is_consumed_later_begins_as_small(
    amqp_url: str, redis_url: str, rabbit: Rabbit, tmp_path: Path
):
    deployment = Deployment(amqp_url=amqp_url, redis_url=redis_url, folder=tmp_path)
    control = Celery(broker=amqp_url, set_as_current=False).control
    vhost = quote(urlsplit(amqp_url).path.removeprefix("/"), safe="")

    async def prefetch() -> dict[str, int]:
        url = f"{rabbit.management_url}/api/consumers/{vhost}"
        async with aiohttp.request("GET", url) as answer:
            found = await answer.json()
        return {one["queue"]["name"]: one["prefetch_count"] for one in found}

    async with deployment.worker("asyncio", "-Q", "default", concurrency=200):
        await asyncio.to_thread(control.add_consumer, "high_priority", reply=True)

        async def consumed() -> bool:
            return "high_priority" in await prefetch()

        await eventually(consumed, 20, 0.2)
        found = await prefetch()

    assert (found["default"], found["high_priority"]) == (FIRST, FIRST)
