"""The catalog against a real Redis that goes away and comes back."""

import asyncio
import json
import time
from typing import Any

import pytest
from redis.asyncio import from_url

from devstack.proxy import TcpProxy
from gateway.config import GatewayConfig
from gateway.errors import Problem
from gateway.redis.client import make_redis
from gateway.redis.faults import RedisAwayError
from gateway.submitting.catalog import Catalog
from penstock.wire.announcements import CATALOG_KEY
from tests.deployment.gateway import running_gateway
from tests.support.waiting import eventually


def entry(task: str, *types: str, seen: float | None = None) -> str:
    params = [
        {
            "name": f"p{number}",
            "kind": "positional_or_keyword",
            "required": True,
            "schema": {"type": type_},
        }
        for number, type_ in enumerate(types)
    ]
    value = {"task": task, "doc": "", "version": "1", "coroutine": False, "params": params}
    return json.dumps({**value, "returns": {}, "seen": time.time() if seen is None else seen})


@pytest.fixture
async def redis(redis_url):
    async with from_url(redis_url) as redis:
        yield redis


def fits(catalog: Catalog, task: str, args: bytes) -> bool:
    try:
        catalog.check(task, args, b"{}")
    except Problem as problem:
        assert problem.code == "invalid-arguments"  # noqa: PT017
        return False
    return True


async def test_what_is_announced_is_checked_and_what_is_withdrawn_is_not(redis_url, redis):
    client = make_redis(redis_url)
    catalog = Catalog(client)
    await catalog.refresh()
    assert fits(catalog, "demo.add", b'["x"]')

    await redis.hset(CATALOG_KEY, "demo.add\nabc", entry("demo.add", "integer"))
    await catalog.refresh()
    assert not fits(catalog, "demo.add", b'["x"]')
    assert fits(catalog, "demo.add", b"[1]")

    await redis.hdel(CATALOG_KEY, "demo.add\nabc")
    await catalog.refresh()
    assert fits(catalog, "demo.add", b'["x"]')
    await client.close()


async def test_the_last_catalog_stays_while_redis_is_away(redis_server, redis):
    await redis.hset(CATALOG_KEY, "demo.add\nabc", entry("demo.add", "integer"))
    async with TcpProxy(redis_server.port) as proxy:
        client = make_redis(f"redis://:{redis_server.password}@127.0.0.1:{proxy.port}/0")
        catalog = Catalog(client)
        await catalog.refresh()
        proxy.cut(refuse=True)

        with pytest.raises(RedisAwayError):
            await catalog.refresh()

        assert not fits(catalog, "demo.add", b'["x"]')
        await redis.hset(CATALOG_KEY, "demo.add\nabc", entry("demo.add", "integer", seen=1.0))
        proxy.resume()
        await catalog.refresh()
        assert catalog.tasks == ()
        await client.close()


async def test_the_loop_goes_on_after_an_outage_and_ends_when_cancelled(redis_server, redis):
    async with TcpProxy(redis_server.port) as proxy:
        client = make_redis(f"redis://:{redis_server.password}@127.0.0.1:{proxy.port}/0")
        catalog = Catalog(client)
        proxy.cut(refuse=True)
        loop = asyncio.create_task(catalog.looper.run())
        await eventually(lambda: not catalog.redis_answers)

        await redis.hset(CATALOG_KEY, "demo.add\nabc", entry("demo.add", "integer"))
        proxy.resume()
        await eventually(lambda: catalog.redis_answers and catalog.tasks == ("demo.add",), 8)

        loop.cancel()
        with pytest.raises(asyncio.CancelledError):
            await loop
        await client.close()


async def test_a_submit_with_bad_arguments_is_a_422_that_names_each(amqp_url, redis_url, redis):
    await redis.hset(CATALOG_KEY, "demo.add\nabc", entry("demo.add", "integer", "integer"))
    config = GatewayConfig(amqp_url=amqp_url, redis_url=redis_url)
    async with running_gateway(config) as client:

        async def refused() -> Any:
            body = {"task": "demo.add", "args": ["1"], "kwargs": {"z": None}}
            async with client.post("/v1/tasks", json=body) as answer:
                return await answer.json() if answer.status == 422 else None

        problem = await eventually(refused)

    assert (problem["code"], problem["queued"]) == ("invalid-arguments", "no")
    assert [fault["at"] for fault in problem["errors"]] == [
        "$.args[0]",
        "$.kwargs.z",
        "$.kwargs.p1",
    ]
