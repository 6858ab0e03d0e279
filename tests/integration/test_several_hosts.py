"""RabbitMQ at several addresses: who loses one, or hears nothing from it, goes on at another."""

import asyncio
import time
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from devstack.proxy import TcpProxy
from devstack.rabbit import Rabbit
from gateway.config import GatewayConfig
from gateway.errors import Problem
from gateway.rabbitmq.publisher import Publisher
from gateway.rabbitmq.task_message import MessageOptions, template
from tests.support.waiting import eventually
from topology.connecting import on_any_host
from topology.entities import Queue
from topology.model import Topology

pytestmark = pytest.mark.bare_vhost

LAYOUT = Topology(queues=[Queue(name="default")])


@pytest_asyncio.fixture
async def hosts(rabbit: Rabbit) -> AsyncIterator[list[TcpProxy]]:
    """Two ways to one server, which each looks like a node."""
    async with TcpProxy(rabbit.port) as first, TcpProxy(rabbit.port) as second:
        yield [first, second]


def url_of(amqp_url: str, hosts: list[TcpProxy]) -> str:
    parts = urlsplit(amqp_url)
    credentials = parts.netloc.rpartition("@")[0]
    listed = ",".join(f"127.0.0.1:{proxy.port}" for proxy in hosts)
    return parts._replace(netloc=f"{credentials}@{listed}").geturl()


@pytest_asyncio.fixture
async def publisher(amqp_url: str, hosts: list[TcpProxy]) -> AsyncIterator[Publisher]:
    """Publishes through one of the two."""
    config = GatewayConfig(amqp_url=url_of(amqp_url, hosts), confirm_timeout_s=1)
    publisher = Publisher(config, LAYOUT)
    await publisher.start()
    await eventually(lambda: publisher.state == "ready", timeout_s=20)
    yield publisher
    for proxy in hosts:
        proxy.resume()
    await publisher.close()


async def confirmed(publisher: Publisher) -> bool:
    """Publish one message."""
    task_id = f"{time.monotonic_ns():020d}"
    made = template("t", "", "default", MessageOptions(), origin="o", id_length=len(task_id))
    try:
        await publisher.publish(made, task_id, b"[[],{},{}]")
    except Problem:
        return False
    return True


async def test_a_lost_host_is_left_for_the_next(publisher: Publisher, hosts: list[TcpProxy]):
    assert await confirmed(publisher)
    [used] = [proxy for proxy in hosts if proxy.connections]

    used.cut(refuse=True)

    await eventually(lambda: confirmed(publisher), timeout_s=15, every_s=0.1)
    assert [proxy for proxy in hosts if proxy.connections] == [
        proxy for proxy in hosts if proxy is not used
    ]


async def test_a_host_that_confirms_nothing_is_left_though_its_connection_lives(
    publisher: Publisher, hosts: list[TcpProxy]
):
    assert await confirmed(publisher)
    [used] = [proxy for proxy in hosts if proxy.connections]
    [other] = [proxy for proxy in hosts if proxy is not used]

    used.stall()

    # Well before the heartbeat, which gives a silent RabbitMQ up after 33 s.
    await eventually(lambda: confirmed(publisher), timeout_s=20, every_s=0.1)
    assert other.connections


async def test_work_of_the_command_line_is_done_on_a_host_that_answers(
    amqp_url: str, hosts: list[TcpProxy]
):
    hosts[0].cut(refuse=True)
    url = url_of(amqp_url, hosts)

    async def port(connection: object) -> str:
        return str(connection)

    answers = await asyncio.gather(*(on_any_host(url, port) for _ in range(4)))

    assert all(f":{hosts[1].port}" in answer for answer in answers)
    hosts[1].cut(refuse=True)
    with pytest.raises(ConnectionError):
        await on_any_host(url, port)
