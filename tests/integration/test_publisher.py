"""The publisher against a real RabbitMQ, through a proxy that fails in every way it can."""

import asyncio
import json
import random
from collections import Counter

import aio_pika
import pytest

from devstack.proxy import Direction
from gateway.config import GatewayConfig
from gateway.errors import Problem
from gateway.rabbitmq.publisher import Publisher
from gateway.rabbitmq.task_message import MessageOptions, template
from tests.support.waiting import eventually
from topology.entities import Binding, Exchange, Queue
from topology.model import Topology

pytestmark = pytest.mark.bare_vhost

LAYOUT = Topology(
    exchanges=[Exchange(name="tasks", type="direct")],
    queues=[Queue(name="default"), Queue(name="small", limit=1)],
    bindings=[
        Binding(exchange="tasks", queue="default", key="default"),
        Binding(exchange="tasks", queue="small", key="small"),
    ],
)
ID_LENGTH = 12


def made(routing_key: str = "default", exchange: str = "tasks"):
    return template(
        "demo.add", exchange, routing_key, MessageOptions(), origin="o", id_length=ID_LENGTH
    )


def name(number: int) -> str:
    return f"{number:012d}"


@pytest.fixture
async def publisher(amqp_url, proxy):
    config = GatewayConfig(amqp_url=proxy.url_through(amqp_url), confirm_timeout_s=1.5)
    publisher = Publisher(config, LAYOUT)
    await publisher.start()
    await eventually(lambda: publisher.state == "ready", timeout_s=20)
    yield publisher
    proxy.resume()
    await publisher.close()


async def queued(amqp_url: str, queue: str = "default") -> list[str]:
    """The ids of all messages in a queue, taking them out."""
    connection = await aio_pika.connect(amqp_url)
    async with connection:
        channel = await connection.channel(publisher_confirms=False)
        source = await channel.get_queue(queue)
        ids = []
        while (message := await source.get(fail=False)) is not None:
            ids.append(str(message.message_id))
            await message.ack()
        return ids


async def outcome(publisher: Publisher, number: int, size: int = 50, **key: str) -> str:
    """How one publish ends: `confirmed`, or whether it may be queued."""
    try:
        await publisher.publish(made(**key), name(number), b"x" * size)
    except Problem as problem:
        return str(problem.queued)
    return "confirmed"


async def test_a_confirmed_message_is_persistent_in_its_queue(publisher, amqp_url):
    await publisher.publish(made(), name(1), json.dumps([1]).encode())

    assert await queued(amqp_url) == [name(1)]
    assert publisher.inflight_messages == 0
    assert publisher.inflight_bytes == 0


async def test_many_at_once_are_confirmed_and_none_is_lost(publisher, amqp_url):
    ends = await asyncio.gather(*(outcome(publisher, number) for number in range(3000)))

    assert set(ends) == {"confirmed"}
    assert sorted(await queued(amqp_url)) == [name(number) for number in range(3000)]


async def test_a_body_over_the_frame_size_arrives_whole(publisher, amqp_url):
    body = random.Random(1).randbytes(1_000_000)
    await publisher.publish(made(), name(1), body)

    connection = await aio_pika.connect(amqp_url)
    async with connection:
        channel = await connection.channel()
        message = await (await channel.get_queue("default")).get()
        assert message.body == body


async def test_an_unroutable_message_is_told_and_its_neighbours_are_confirmed(publisher):
    ends = await asyncio.gather(
        outcome(publisher, 1),
        outcome(publisher, 2, routing_key="nowhere"),
        outcome(publisher, 3),
    )

    assert list(ends) == ["confirmed", "no", "confirmed"]


async def test_a_queue_that_refuses_is_told_as_not_queued(publisher, amqp_url):
    ends = Counter([await outcome(publisher, n, routing_key="small") for n in range(30)])

    assert ends["no"] > 0
    assert len(await queued(amqp_url, "small")) == ends["confirmed"]


async def test_a_lost_channel_makes_all_in_flight_unknown_and_comes_back(publisher, amqp_url):
    ends = await asyncio.gather(
        outcome(publisher, 1, exchange="no-such-exchange"), outcome(publisher, 2)
    )
    assert ends[0] == "unknown"

    await eventually(lambda: publisher.state == "ready", timeout_s=10)
    assert await outcome(publisher, 3) == "confirmed"
    assert name(3) in await queued(amqp_url)


async def test_a_connection_lost_before_the_confirm_is_unknown_and_then_recovers(publisher, proxy):
    proxy.stall(Direction.TO_CLIENT)
    waiting = asyncio.create_task(outcome(publisher, 1))
    await eventually(lambda: publisher.inflight_messages == 1)
    proxy.cut(refuse=True)

    assert await asyncio.wait_for(waiting, 3) == "unknown"
    assert await outcome(publisher, 2) == "no"
    proxy.resume()
    await eventually(lambda: publisher.state == "ready", timeout_s=10)
    assert await outcome(publisher, 3) == "confirmed"


async def test_a_confirm_that_does_not_come_is_unknown_in_time(publisher, proxy):
    proxy.stall(Direction.TO_CLIENT)
    started = asyncio.get_running_loop().time()

    assert await outcome(publisher, 1) == "unknown"
    assert 1.4 < asyncio.get_running_loop().time() - started < 3
    proxy.resume()
    await eventually(lambda: publisher.inflight_messages == 0)


async def test_a_broker_that_stopped_confirming_is_known_after_the_first_timeout(publisher, proxy):
    proxy.stall(Direction.TO_CLIENT)
    assert await outcome(publisher, 1) == "unknown"

    probe = asyncio.create_task(outcome(publisher, 2))  # one a second finds out
    await asyncio.sleep(0)
    ends = await asyncio.wait_for(
        asyncio.gather(*(outcome(publisher, number) for number in range(3, 20))), 0.5
    )
    assert set(ends) == {"no"}
    proxy.resume()
    assert await probe == "confirmed"
    assert await outcome(publisher, 20) == "confirmed"


async def test_a_client_that_goes_away_disturbs_nobody(publisher, amqp_url):
    gone = publisher.publish(made(), name(1), b"x")
    stays = publisher.publish(made(), name(2), b"x")
    gone.cancel()

    await stays
    assert await queued(amqp_url) == [name(1), name(2)]


async def test_too_much_in_flight_is_refused_at_once_and_room_is_waited_for(amqp_url, proxy):
    config = GatewayConfig(amqp_url=proxy.url_through(amqp_url), max_inflight_messages=10)
    publisher = Publisher(config, LAYOUT)
    await publisher.start()
    await eventually(lambda: publisher.state == "ready", timeout_s=20)
    proxy.stall()
    inflight = [publisher.publish(made(), name(number), b"x") for number in range(10)]

    with pytest.raises(Problem) as refused:
        publisher.publish(made(), name(11), b"x")
    assert (refused.value.code, refused.value.queued) == ("overloaded", "no")
    waiting = asyncio.create_task(publisher.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    proxy.resume()
    await asyncio.wait_for(waiting, 5)
    await asyncio.gather(*inflight)
    await publisher.close()


@pytest.mark.timeout(240)  # of 150 faults each costs a new connection
async def test_any_interleaving_of_faults_ends_each_publish_once_and_agrees_with_the_queue(
    publisher, proxy, amqp_url
):
    """A property test with a fixed budget: the broker's queue is the judge."""
    dice = random.Random(20_26)
    ends: dict[int, str] = {}

    def confirmed() -> int:
        return Counter(ends.values())["confirmed"]

    async def submit(number: int) -> None:
        assert number not in ends
        ends[number] = await outcome(publisher, number, size=dice.choice([10, 500, 200_000]))

    async def client(start: int) -> None:
        for number in range(start, start + 150):
            task = asyncio.create_task(submit(number))
            if dice.random() < 0.05:
                await asyncio.sleep(dice.random() * 0.005)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                ends.setdefault(number, "cancelled")
            else:
                await task
            if ends[number] == "no":
                await eventually(lambda: publisher.state == "ready", timeout_s=30)

    async def break_things() -> None:
        while True:
            await asyncio.sleep(dice.random() * 0.4)
            match dice.randrange(4):
                case 0:
                    proxy.cut()
                case 1:
                    proxy.cut_after(dice.randrange(1, 300_000), Direction.TO_SERVER)
                case 2:
                    proxy.cut_after(dice.randrange(1, 500), Direction.TO_CLIENT)
                case 3:
                    proxy.stall(dice.choice(list(Direction)))
                    await asyncio.sleep(dice.random() * 0.3)
                    proxy.resume()
            if dice.random() < 0.3:
                proxy.resume()
                wanted = confirmed() + 20  # however slowly this machine connects again
                await eventually(lambda: confirmed() >= wanted, timeout_s=30)  # noqa: B023

    breaker = asyncio.create_task(break_things())
    await asyncio.gather(*(client(start * 1000) for start in range(20)))
    breaker.cancel()
    await asyncio.gather(breaker, return_exceptions=True)
    assert breaker.cancelled(), breaker.exception()
    proxy.resume()
    await eventually(lambda: publisher.state == "ready", timeout_s=15)
    assert await outcome(publisher, 999_999) == "confirmed"

    there = Counter(await queued(amqp_url))
    tally = Counter(ends.values())
    assert sum(tally.values()) == 20 * 150
    assert tally["confirmed"] > 500, tally
    assert tally["unknown"] > 10, tally
    for number, end in ends.items():
        count = there[name(number)]
        if end == "confirmed":
            assert count == 1, (number, end, count)
        elif end == "no":
            assert count == 0, (number, end, count)
        else:
            assert count <= 1, (number, end, count)
