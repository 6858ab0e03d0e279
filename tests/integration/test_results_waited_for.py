"""Who waits for a result waits for Redis too, in a process that executes no tasks."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
from celery.result import AsyncResult
from redis.exceptions import ConnectionError as RedisConnectionError

import penstock
from devstack.proxy import TcpProxy
from tests.support.worker_states import WorkerStates


@pytest.fixture
async def proxy(redis_url: str) -> AsyncIterator[TcpProxy]:
    async with TcpProxy(urlsplit(redis_url).port or 0) as proxy:
        yield proxy


@pytest.fixture
async def result(proxy: TcpProxy, redis_url: str) -> AsyncIterator[AsyncResult]:
    """A result that a client has begun to wait for, when Redis goes away."""
    url = proxy.url_through(redis_url)
    with penstock.Penstock("client", backend=url, set_as_current=False) as app:
        result = app.AsyncResult(str(uuid.uuid4()))
        await asyncio.to_thread(result.backend.add_pending_result, result)
        proxy.cut(refuse=True)
        yield result


async def test_a_result_is_had_once_redis_is_back(
    result: AsyncResult, proxy: TcpProxy, redis_url: str
):
    waiting = asyncio.create_task(
        asyncio.to_thread(result.backend.wait_for_pending, result, timeout=20)
    )
    states = WorkerStates.at(redis_url)
    await states.start(result.id)
    await states.succeed(result.id, 7)
    await states.client.aclose()
    await asyncio.sleep(1)  # it is not given up
    assert not waiting.done()
    proxy.resume()

    assert await waiting == 7


async def test_nobody_waits_longer_than_asked(result: AsyncResult):
    began = time.monotonic()
    with pytest.raises(RedisConnectionError):
        await asyncio.to_thread(result.backend.wait_for_pending, result, timeout=2)

    assert 2 <= time.monotonic() - began < 8
