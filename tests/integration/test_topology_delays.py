"""Delays, dead letters and limits, as a real RabbitMQ carries them out."""

import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from aio_pika.exceptions import DeliveryError

from penstock.wire.delay import delay_route, delayed_destination, is_delay_exchange
from tests.support.waiting import eventually
from topology.declare import declare
from topology.entities import Binding, Exchange, Queue
from topology.model import Topology
from topology.plan import declarations

pytestmark = pytest.mark.bare_vhost

TOPOLOGY = Topology(
    exchanges=[
        Exchange(name="d", type="direct"),
        Exchange(name="t", type="topic"),
        Exchange(name="f", type="fanout"),
    ],
    queues=[Queue(name="one"), Queue(name="two"), Queue(name="small", limit=1)],
    bindings=[
        Binding(exchange="d", queue="one", key="one"),
        Binding(exchange="d", queue="two", key="end.one"),
        Binding(exchange="t", queue="one", key="a.*.z"),
        Binding(exchange="t", queue="two", key="a.#"),
        Binding(exchange="t", queue="two", key="#.z"),
        Binding(exchange="f", queue="one"),
        Binding(exchange="f", queue="small"),
        Binding(exchange="d", queue="small", key="small"),
    ],
)
KEPT = [queue.name for queue in declarations(TOPOLOGY).queues if "delay_" not in queue.name]


@pytest.fixture
async def channel(amqp_url: str) -> AsyncIterator[AbstractChannel]:
    async with await aio_pika.connect(amqp_url) as connection:
        await declare(connection, TOPOLOGY)
        yield await connection.channel()


async def publish(
    channel: AbstractChannel, exchange: str, key: str, body: str = "x", **properties: Any
) -> None:
    target = await channel.get_exchange(exchange, ensure=False) if exchange else None
    message = aio_pika.Message(
        body.encode(), delivery_mode=aio_pika.DeliveryMode.PERSISTENT, **properties
    )
    await (target or channel.default_exchange).publish(message, key, mandatory=True)


async def take(channel: AbstractChannel, queue: str) -> AbstractIncomingMessage | None:
    declared = await channel.get_queue(queue, ensure=False)
    return await declared.get(no_ack=True, fail=False)


async def take_all(channel: AbstractChannel) -> set[str]:
    """Empty every queue and name those that held something."""
    found = set()
    for queue in KEPT:
        while await take(channel, queue):
            found.add(queue)
    return found


DESTINATIONS = [
    ("d", "one"),
    ("d", "end.one"),
    ("t", "a.b.z"),
    ("t", "a"),
    ("t", "z"),
    ("f", ""),
    ("f", "any.key"),
    ("", "two"),
]


async def test_delayed_messages_reach_in_time_what_they_would_have_reached_at_once(
    channel: AbstractChannel,
):
    published: dict[str, tuple[float, int, str, str]] = {}
    for delay_s in (3, 2, 1):
        for exchange, key in DESTINATIONS:
            body = f"{delay_s} {exchange} {key}"
            published[body] = time.monotonic(), delay_s, exchange, key
            await publish(channel, *delay_route(delay_s, exchange, key), body)
    reached: dict[str, list[str]] = {body: [] for body in published}

    async def all_there() -> bool:
        for queue in KEPT:
            while message := await take(channel, queue):
                body = message.body.decode()
                reached[body].append(queue)
                at, delay_s, *destination = published[body]
                assert delay_s <= time.monotonic() - at < delay_s + 2, body
                assert message.routing_key
                assert is_delay_exchange(message.exchange)
                read = delayed_destination(message.routing_key, TOPOLOGY.exchanges)
                assert read == tuple(destination)
        return sum(map(len, reached.values())) >= expected

    expected = sum(len(TOPOLOGY.match(*destination)) for destination in DESTINATIONS) * 3
    await eventually(all_there, timeout_s=8)

    for body, (_, _, exchange, key) in published.items():
        assert set(reached[body]) == set(TOPOLOGY.match(exchange, key)), body
        assert len(reached[body]) == len(set(reached[body])), body
    assert await take_all(channel) == set()


async def test_a_delayed_message_whose_destination_is_gone_is_kept_and_told(
    channel: AbstractChannel,
):
    await publish(channel, *delay_route(1, "d", "nobody"))

    found: set[str] = set()

    async def both() -> bool:
        found.update(await take_all(channel))
        return len(found) >= 2

    await eventually(both, timeout_s=6)

    assert found == {"unrouted.dead", "dead.outcomes"}


async def test_a_full_destination_makes_delayed_messages_wait_and_loses_none(
    channel: AbstractChannel,
):
    limit = TOPOLOGY.queues["small"].broker_limit
    filled = 0
    with contextlib.suppress(DeliveryError):
        while filled < limit * 3:
            await publish(channel, "d", "small", f"early {filled}")
            filled += 1
    for number in range(5):
        await publish(channel, *delay_route(1, "d", "small"), f"late {number}")
    bodies: list[str] = []

    async def drained() -> bool:
        while message := await take(channel, "small"):
            bodies.append(message.body.decode())
        return {f"late {number}" for number in range(5)} <= set(bodies)

    assert limit <= filled < limit * 3
    await eventually(drained, timeout_s=20, every_s=0.2)

    assert [body for body in bodies if body.startswith("early")] == [
        f"early {number}" for number in range(filled)
    ]
    assert await take_all(channel) == set()


@pytest.mark.parametrize("reason", ["rejected", "expired", "delivery_limit"])
async def test_a_dead_letter_is_kept_beside_its_queue_and_told(
    channel: AbstractChannel, reason: str
):
    queue = await channel.get_queue("one", ensure=False)
    if reason == "expired":
        await publish(channel, "d", "one", expiration=0.01)
    else:
        await publish(channel, "d", "one")
        for _ in range(30 if reason == "delivery_limit" else 1):
            if message := await queue.get(fail=False):
                await message.reject(requeue=reason == "delivery_limit")

    letters: dict[str, AbstractIncomingMessage] = {}

    async def told() -> bool:
        for name in ("one.dead", "dead.outcomes"):
            if message := await take(channel, name):
                letters[name] = message
        return len(letters) == 2

    await eventually(told, timeout_s=10)

    for letter in letters.values():
        deaths: Any = letter.headers["x-death"]
        assert [(death["reason"], death["queue"]) for death in deaths] == [(reason, "one")]
        assert letter.routing_key == "one"
    assert await take_all(channel) == set()
