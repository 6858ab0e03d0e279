"""Two processes on one port: /metrics of either tells of both."""

import asyncio
import os
import sys

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from devstack.ports import free_port
from tests.waiting import eventually

REQUESTS = 60


@pytest.fixture
async def url(amqp_url, redis_url):
    port = free_port()
    environ = {
        **os.environ,
        "AMQP_URL": amqp_url,
        "REDIS_URL": redis_url,
        "GATEWAY_PORT": str(port),
        "GATEWAY_PROCESSES": "2",
        "DRAIN_TIMEOUT_S": "1",
    }
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "gateway", env=environ)
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    assert await asyncio.wait_for(process.wait(), 20) == 0


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

        await eventually(both_are_up, timeout_s=20)
        for _ in range(REQUESTS):
            await get("/healthz")

        async def all_counted() -> bool:
            route = "/healthz"
            return await value("penstock_http_requests_total", route=route) == REQUESTS

        async def whichever_process_answers() -> bool:
            return all([await all_counted() for _ in range(10)])

        await eventually(whichever_process_answers, timeout_s=5)
