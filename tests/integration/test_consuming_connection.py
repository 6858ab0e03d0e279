"""The connection of all that does not publish: its channels, its loss, its return."""

import asyncio
import time
from collections import Counter
from functools import partial
from urllib.parse import unquote, urlsplit

import aio_pika
import pytest

from devstack.proxy import TcpProxy
from gateway.rabbitmq.connection import Connection
from gateway.rabbitmq.consumer import (
    ATTEMPTS,
    FINISH_TIMEOUT_S,
    Consumer,
    Delivery,
    UnusableError,
)
from gateway.rabbitmq.faults import BrokerAwayError, MissingEntityError
from tests.deployment.gateway import running_gateway
from tests.support.loops import turning
from tests.support.waiting import eventually

SILENT_AFTER_S = 1.0


class Taker:
    """A handler that counts what it is given, and does with it as the body says."""

    def __init__(self) -> None:
        self.taken: Counter[bytes] = Counter()

    async def __call__(self, delivery: Delivery) -> None:
        self.taken[delivery.body] += 1
        if delivery.body == b"unusable":
            raise UnusableError
        if delivery.body == b"fails":
            raise ValueError("no")


class Scene:
    """A queue, its consumer, and the proxy between the consumer and RabbitMQ."""

    def __init__(self, channel, proxy, connection, consumer, taker) -> None:
        self.channel = channel
        self.proxy = proxy
        self.connection = connection
        self.consumer = consumer
        self.taker = taker

    async def publish(self, *bodies: bytes) -> None:
        for body in bodies:
            message = aio_pika.Message(body, delivery_mode=2)
            await self.channel.default_exchange.publish(message, "here")

    async def count(self, queue: str) -> int:
        found = await self.channel.declare_queue(queue, passive=True)
        return found.declaration_result.message_count

    async def consumes(self, *bodies: bytes) -> None:
        await self.publish(*bodies)
        await eventually(lambda: self.taker.taken.keys() >= set(bodies), timeout_s=10)


async def declare(channel) -> None:
    await channel.declare_queue("dead", durable=True)
    await channel.declare_queue(
        "here",
        durable=True,
        arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"},
    )


@pytest.fixture
async def scene(amqp_url, rabbit):
    taker = Taker()
    async with await aio_pika.connect(amqp_url) as outside, TcpProxy(rabbit.port) as proxy:
        channel = await outside.channel()
        await declare(channel)
        connection = Connection(
            proxy.url_through(amqp_url), "consuming", silent_after_s=SILENT_AFTER_S
        )
        consumer = Consumer(connection, "here", "taker", taker)
        async with turning(connection.looper, consumer.looper):
            await eventually(lambda: consumer.looper.failing is None and connection.is_open)
            yield Scene(channel, proxy, connection, consumer, taker)
            proxy.resume()


async def test_each_delivery_is_acknowledged_rejected_or_tried_again(scene):
    await scene.consumes(b"fine", b"unusable", b"fails")

    await eventually(lambda: scene.taker.taken[b"fails"] == ATTEMPTS, timeout_s=10)
    await eventually(lambda: scene.consumer.acknowledged == 1)
    assert (scene.taker.taken[b"unusable"], scene.consumer.given_up) == (1, 1)

    async def dead() -> bool:
        return await scene.count("dead") == 2

    await eventually(dead)


async def test_a_fault_on_one_channel_ends_no_other(scene):
    with pytest.raises(MissingEntityError):
        async with scene.connection.channel() as channel:
            await channel.queue_declare("nowhere", passive=True)
    async with scene.connection.channel() as channel:
        await channel.queue_declare("here", passive=True)

    await scene.consumes(b"after")
    assert scene.consumer.looper.failures == 0
    assert scene.proxy.connections == 1


async def test_a_consumer_whose_queue_was_deleted_consumes_again_when_it_is_back(scene):
    await scene.channel.queue_delete("here")
    await eventually(lambda: "not_found" in _error(scene.consumer), timeout_s=10)
    await declare(scene.channel)

    await scene.consumes(b"again")
    assert scene.connection.looper.failures == 0


def _error(consumer: Consumer) -> str:
    failing = consumer.looper.failing
    return failing.error.lower() if failing is not None else ""


async def test_a_connection_that_is_cut_comes_back_and_nothing_is_lost(scene):
    bodies = [b"%d" % number for number in range(500)]
    publishing = asyncio.create_task(scene.publish(*bodies))
    for _ in range(5):
        scene.proxy.cut()
        before = scene.taker.taken.total()

        def goes_on(before: int = before) -> bool:
            return scene.taker.taken.total() > before or publishing.done()

        await eventually(goes_on, timeout_s=10)
    await publishing

    await eventually(lambda: scene.taker.taken.keys() >= set(bodies), timeout_s=10)
    assert scene.connection.looper.failures >= 1

    async def empty() -> bool:
        return await scene.count("here") == 0

    await eventually(empty)


async def test_a_silent_rabbitmq_is_noticed_before_any_heartbeat_and_refused_promptly(scene):
    await scene.consumes(b"before")
    scene.proxy.stall()

    await eventually(lambda: not scene.connection.is_open, timeout_s=SILENT_AFTER_S + 5)
    scene.proxy.cut(refuse=True)
    with pytest.raises(BrokerAwayError) as refused:
        async with asyncio.timeout(8), scene.connection.channel(queued="no"):
            pass
    assert (refused.value.code, refused.value.queued) == ("broker-unavailable", "no")
    scene.proxy.resume()

    await scene.consumes(b"after")


async def test_a_consumer_that_finishes_takes_nothing_twice(amqp_url):
    taken: Counter[bytes] = Counter()

    async def slowly(delivery: Delivery) -> None:
        taken[delivery.body] += 1
        await asyncio.sleep(0.2)

    async with await aio_pika.connect(amqp_url) as outside:
        channel = await outside.channel()
        await declare(channel)
        bodies = [b"%d" % number for number in range(300)]
        for body in bodies:
            await channel.default_exchange.publish(aio_pika.Message(body), "here")
        connection = Connection(amqp_url, "consuming")
        cut_short = False  # by a machine on which 0.2 s take 3 s: the rest comes again
        while len(taken) < len(bodies):
            more = partial(lambda before: len(taken) > before, len(taken))
            consumer = Consumer(connection, "here", "slow", slowly)
            async with turning(connection.looper, consumer.looper):
                await eventually(more, timeout_s=10)
                began = time.monotonic()
                await consumer.finish()
                cut_short |= time.monotonic() - began >= FINISH_TIMEOUT_S
        left = (await channel.declare_queue("here", passive=True)).declaration_result.message_count
    assert set(taken.values()) == {1} or cut_short
    assert left == 0


@pytest.mark.bare_vhost
async def test_a_gateway_consumes_when_a_new_rabbitmq_has_its_queues(
    amqp_url, redis_url, rabbit, caplog
):
    async with running_gateway(amqp_url=amqp_url, redis_url=redis_url) as client:

        async def all_well() -> bool:
            async with client.get("/readyz") as answer:
                return answer.status == 200

        await eventually(all_well, timeout_s=30)
        async with await aio_pika.connect(amqp_url) as outside:
            channel = await outside.channel()

            async def consumed() -> bool:
                queue = await channel.declare_queue("dead.outcomes", passive=True)
                return queue.declaration_result.consumer_count == 1

            await eventually(consumed, timeout_s=10)
        assert [one.getMessage() for one in caplog.records if one.levelname != "INFO"] == []
    vhost = unquote(urlsplit(amqp_url).path[1:]).encode()
    lines = rabbit.child.logged().splitlines()
    refused = [line for line in lines if b" caused a " in line and vhost in line]
    assert len(refused) <= 2, refused  # one each to find the layout, and to declare it
