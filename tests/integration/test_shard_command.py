"""`python -m topology shard`, and each step of a queue on its way to shards and back."""

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from kombu.connection import Connection

from devstack.rabbit import Rabbit
from penstock.wire.delay import delay_route
from penstock.wire.hosts import vhost_of
from penstock.wire.names import shard_names
from tests.support.waiting import eventually
from topology import kombu_queues
from topology.__main__ import main
from topology.comparison import conflicts, missing, surplus
from topology.declarations import BindingDeclaration
from topology.declare import declare
from topology.entities import Binding, Exchange, Queue
from topology.management import fetch
from topology.model import Topology
from topology.plan import declarations

pytestmark = pytest.mark.bare_vhost

NAMES = shard_names("orders", 4)
Run = Callable[..., tuple[int, str]]


def layout(shards: int | None) -> Topology:
    return Topology(
        exchanges=[Exchange(name="tasks", type="direct"), Exchange(name="events", type="topic")],
        queues=[Queue(name="orders", shards=shards)],
        bindings=[
            Binding(exchange="tasks", queue="orders", key="orders"),
            Binding(exchange="events", queue="orders", key="orders.#"),
        ],
    )


async def publish(channel: AbstractChannel, mark: str) -> None:
    """Publish a message by each way that leads to the queue."""
    ways = {
        "key": ("tasks", "orders"),
        "pattern": ("events", f"orders.{mark}"),
        "delay": delay_route(1, "events", f"orders.{mark}"),
        "delayed to the name": delay_route(1, "", "orders"),
    }
    for way, (exchange, key) in ways.items():
        to = await channel.get_exchange(exchange, ensure=False)
        await to.publish(aio_pika.Message(f"{mark} {way}".encode()), key, mandatory=True)


async def keep(message: AbstractIncomingMessage) -> None:
    """Keep a message unacknowledged."""


async def taken(channel: AbstractChannel, count: int) -> Counter[str]:
    """Take what arrives until there were so many, or nothing comes for a while."""
    found: Counter[str] = Counter()
    quiet = 0
    while quiet < 20:
        before = found.total()
        for name in NAMES:
            try:
                queue = await channel.declare_queue(name, passive=True)
            except aio_pika.exceptions.ChannelNotFoundEntity:
                await channel.reopen()
                continue
            while message := await queue.get(fail=False, no_ack=True):
                found[message.body.decode()] += 1
        quiet = 0 if found.total() > before else quiet + 1
        if found.total() >= count and quiet >= 3:
            break
        await asyncio.sleep(0.1)
    return found


async def test_at_each_step_of_the_move_a_message_arrives_once(amqp_url: str):
    """Whatever ends the move in between: the next declaration does the rest."""
    before, after = declarations(layout(None)), declarations(layout(4))
    known = {repr(one) for one in before.bindings}
    added = [one for one in after.bindings if repr(one) not in known and not one.spreads]

    async with await aio_pika.connect(amqp_url) as connection:
        await declare(connection, layout(None))
        channel = await connection.channel(on_return_raises=True)
        underlay = await channel.get_underlay_channel()
        for exchange in after.exchanges:
            await underlay.exchange_declare(
                exchange.name,
                exchange_type=exchange.type,
                durable=True,
                arguments=dict(exchange.arguments),
            )
        for queue in after.queues:
            await underlay.queue_declare(queue.name, durable=True, arguments=dict(queue.arguments))

        async def bind(one: BindingDeclaration) -> None:
            to = underlay.queue_bind if one.destination_type == "queue" else underlay.exchange_bind
            await to(one.destination, one.source, one.key)

        async def unbind(one: BindingDeclaration) -> None:
            await underlay.queue_unbind(one.destination, one.source, one.key)

        steps = [(bind, one) for one in added]
        steps += [(unbind, one) for one in after.replaced]
        steps += [(bind, one) for one in after.bindings if one.spreads]
        assert len(steps) > 10
        for number, (take, one) in enumerate(steps):
            await take(one)
            await publish(channel, str(number))
        found = await taken(channel, 4 * len(steps))
        assert (len(found), set(found.values())) == (4 * len(steps), {1})

        for _ in range(2):  # once more changes nothing
            await declare(connection, layout(4))
            await publish(channel, "last")
            found = await taken(channel, 4)
            assert (len(found), set(found.values())) == (4, {1})


@pytest.mark.parametrize("library", ["aio-pika", "kombu"])
async def test_who_declares_the_layout_moves_the_queue(amqp_url: str, rabbit: Rabbit, library: str):
    def by_kombu() -> None:
        with Connection(amqp_url) as connection:
            kombu_queues.declare(connection, layout(3))

    async with await aio_pika.connect(amqp_url) as connection:
        await declare(connection, layout(None))
        if library == "kombu":
            await asyncio.to_thread(by_kombu)
        else:
            await declare(connection, layout(3))
    live = await asyncio.to_thread(fetch, rabbit.management_url, vhost_of(amqp_url))
    plan = declarations(layout(3))
    assert [*missing(plan, live), *surplus(plan, live), *conflicts(plan, live)] == []


@pytest.fixture
def run(rabbit: Rabbit, amqp_url: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    def run(shards: int | None, *arguments: str, management: bool = True) -> tuple[int, str]:
        path = tmp_path / "layout.toml"
        path.write_text(
            '[exchanges.tasks]\ntype = "direct"\n[exchanges.events]\ntype = "topic"\n'
            f"[queues.orders]\n{f'shards = {shards}' if shards else ''}\n"
            'bindings = [{ exchange = "tasks", key = "orders" }, '
            '{ exchange = "events", key = "orders.#" }]\n'
        )
        variables = {"AMQP_URL": amqp_url, "TOPOLOGY_FILE": str(path)}
        if management:
            variables["RABBITMQ_MANAGEMENT_URL"] = rabbit.management_url
        code = main(list(arguments), variables)
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return run


async def test_shards_grow_shrink_and_go_and_nothing_is_lost_or_doubled(run: Run, amqp_url: str):
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel(on_return_raises=True)
        sent = 0
        for shards in (None, 2, 4):
            code, said = await asyncio.to_thread(run, shards, "shard", "orders")
            assert code == 0, said
            for number in range(5):
                await publish(channel, f"{shards} {number}")
            sent += 20
        code, said = await asyncio.to_thread(run, 1, "check")
        assert code == 1
        assert "surplus  binding of queue 'orders-shard-3' to 'penstock_shards.orders'" in said

        third = await channel.get_queue("orders-shard-3")
        tag = await third.consume(keep)
        code, said = await asyncio.to_thread(run, 1, "shard", "orders")
        assert code == 1
        assert "remains  queue 'orders-shard-3': 1 consumers: restart the workers" in said
        assert "deleted  queue 'orders-shard-2'" in said
        await third.cancel(tag)
        await channel.close()
        channel = await connection.channel(on_return_raises=True)

        async def again() -> str | None:
            """Run it once more: what the worker had may come back a moment later."""
            code, said = await asyncio.to_thread(run, 1, "shard", "orders")
            return said if code == 0 else None

        assert "deleted  queue 'orders-shard-3'" in await eventually(again, timeout_s=40)
        await publish(channel, "one")
        code, said = await asyncio.to_thread(run, None, "shard", "orders")
        assert code == 0, said
        assert "deleted  exchange 'penstock_shards.orders'" in said
        assert (await asyncio.to_thread(run, None, "check"))[0] == 0
        await publish(channel, "none")
        found = await taken(channel, sent + 8)
        assert (len(found), set(found.values())) == (sent + 8, {1})


def test_what_cannot_be_sharded_is_refused(run: Run):
    for arguments, management, words in (
        (("shard", "others"), True, "queue 'others' is not in the layout"),
        (("shard", "orders"), False, "shard needs RABBITMQ_MANAGEMENT_URL"),
    ):
        code, said = run(2, *arguments, management=management)
        assert code == 2
        assert words in said
