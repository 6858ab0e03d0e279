"""Two processes on one port, as `python -m gateway` starts them."""

import asyncio
import os
import sys

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from devstack.ports import free_port
from devstack.proxy import Direction, TcpProxy
from tests.support.waiting import eventually

REQUESTS = 60


@pytest.fixture
async def start(redis_url):
    """Start a gateway of two processes on this broker, and give its URL."""
    started = []

    async def start(amqp_url: str) -> str:
        port = free_port()
        environ = {
            **os.environ,
            "AMQP_URL": amqp_url,
            "REDIS_URL": redis_url,
            "GATEWAY_PORT": str(port),
            "GATEWAY_PROCESSES": "2",
            "DRAIN_TIMEOUT_S": "1",
        }
        started.append(
            await asyncio.create_subprocess_exec(sys.executable, "-m", "gateway", env=environ)
        )
        return f"http://127.0.0.1:{port}"

    yield start
    for process in started:
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 20) == 0


@pytest.fixture
async def url(start, amqp_url):
    return await start(amqp_url)


async def test_both_processes_are_in_every_scrape(url):
    # A connection each, so that the kernel spreads them over both processes.
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def get(path: str) -> str:
            async with session.get(url + path) as answer:
                assert answer.status == 200
                return await answer.text()

        async def value(name: str, **labels: str) -> float:
            for family in text_string_to_metric_families(await get("/metrics")):
                for sample in family.samples:
                    if sample.name == name and labels.items() <= sample.labels.items():
                        return sample.value
            return 0

        async def both_are_up() -> bool:
            try:
                return await value("penstock_processes") == 2
            except aiohttp.ClientError:
                return False

        await eventually(both_are_up, timeout_s=60)
        for _ in range(REQUESTS):
            await get("/healthz")

        async def all_counted() -> bool:
            route = "/healthz"
            return await value("penstock_http_requests_total", route=route) == REQUESTS

        async def whichever_process_answers() -> bool:
            return all([await all_counted() for _ in range(10)])

        await eventually(whichever_process_answers, timeout_s=5)


async def test_a_process_takes_requests_once_it_can_publish(start, amqp_url, rabbit):
    async with TcpProxy(rabbit.port) as proxy, aiohttp.ClientSession() as session:
        proxy.stall(*Direction)
        url = await start(proxy.url_through(amqp_url))

        async def answers() -> bool:
            try:
                async with session.get(f"{url}/healthz"):
                    return True
            except aiohttp.ClientConnectionError:
                return False

        await eventually(lambda: proxy.connections, timeout_s=60)
        early = [await answers() for _ in range(5)]
        proxy.resume()
        await eventually(answers, timeout_s=60)

    assert early == [False] * 5
