"""Both declarers on a real RabbitMQ: the same listing, no change twice, every conflict named."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import unquote, urlsplit

import aio_pika
import aiohttp
import pytest
from kombu.connection import Connection

from devstack.rabbit import Rabbit
from penstock.wire.delay import ANY_DELAY
from penstock.worker.messages.own_queue import declare_own_queue
from tests.deployment.vhosts import VirtualHosts
from tests.support.waiting import eventually
from topology import kombu_queues
from topology.comparison import conflicts, foreign, missing, surplus
from topology.declare import DeclarationConflict, DeclarationError, appeared, declare, probe
from topology.entities import Binding, Exchange, Queue
from topology.layout import load
from topology.management import Live, fetch
from topology.model import Topology
from topology.plan import declarations, of_apps

pytestmark = pytest.mark.bare_vhost

ODD = Topology(
    exchanges=[
        Exchange(name="picky", type="headers", alternate="all"),
        Exchange(name="all", type="fanout"),
        Exchange(name="facts", type="topic", alternate="picky"),
    ],
    queues=[
        Queue(name="a.b", limit=3, delivery_limit=40_000, message_ttl_ms=200),
        Queue(name="c", type="classic", max_priority=200, dead_letter=False),
        Queue(name="d", dead_letter_strategy="at-most-once", overflow="drop-head"),
    ],
    bindings=[
        Binding(exchange="picky", queue="c", arguments={"x-match": "any", "a": "1", "b": True}),
        Binding(exchange="picky", queue="d", arguments={"n": "é"}),
        Binding(exchange="all", queue="a.b"),
        Binding(exchange="facts", queue="a.b", key="#"),
        Binding(exchange="facts", queue="a.b", key="*.é.#"),
    ],
)


async def listing(rabbit: Rabbit, url: str) -> Live:
    return await asyncio.to_thread(
        fetch, rabbit.management_url, unquote(urlsplit(url).path[1:]) or "/"
    )


def comparable(live: Live) -> tuple[object, ...]:
    bindings = sorted(
        (b.source, b.destination_type, b.destination, b.key, sorted(b.arguments.items(), key=repr))
        for b in live.bindings
    )
    return dict(live.exchanges), dict(live.queues), bindings


def declare_with_kombu(url: str, topology: Topology) -> None:
    with Connection(url) as connection:
        kombu_queues.declare(connection, topology)


async def declare_with_aio_pika(url: str, topology: Topology) -> None:
    async with await aio_pika.connect(url) as connection:
        await declare(connection, topology)


@pytest.mark.parametrize("topology", [load(), ODD], ids=["shipped", "odd"])
async def test_both_libraries_declare_the_same(
    rabbit: Rabbit, vhosts: VirtualHosts, topology: Topology
):
    async with vhosts.empty() as one, vhosts.empty() as other:
        await declare_with_aio_pika(one, topology)
        await asyncio.to_thread(declare_with_kombu, other, topology)

        first, second = await listing(rabbit, one), await listing(rabbit, other)

    assert comparable(first) == comparable(second)
    plan = declarations(topology)
    assert list(missing(plan, first)) == []
    assert list(conflicts(plan, first)) == []
    assert list(surplus(plan, first)) == []


async def test_the_second_declarer_changes_nothing(rabbit: Rabbit, amqp_url: str):
    await declare_with_aio_pika(amqp_url, ODD)
    before = await listing(rabbit, amqp_url)

    await asyncio.to_thread(declare_with_kombu, amqp_url, ODD)
    await declare_with_aio_pika(amqp_url, ODD)

    assert comparable(await listing(rabbit, amqp_url)) == comparable(before)


async def test_a_new_rabbitmq_logs_one_queue_that_was_looked_for_in_vain(
    rabbit: Rabbit, amqp_url: str
):
    vhost = unquote(urlsplit(amqp_url).path[1:]).encode()

    def refused() -> list[bytes]:
        lines = rabbit.child.logged().splitlines()
        return [line for line in lines if b"caused a channel exception" in line and vhost in line]

    for _ in range(2):
        await declare_with_aio_pika(amqp_url, load())
        await asyncio.to_thread(declare_with_kombu, amqp_url, load())
    await eventually(refused)
    assert len(refused()) == 1, refused()


async def test_processes_that_start_at_once_do_not_disturb_each_other(
    rabbit: Rabbit, amqp_url: str
):
    await asyncio.gather(
        *(declare_with_aio_pika(amqp_url, load()) for _ in range(3)),
        *(asyncio.to_thread(declare_with_kombu, amqp_url, load()) for _ in range(3)),
    )

    assert list(missing(declarations(load()), await listing(rabbit, amqp_url))) == []


def declare_own(url: str) -> None:
    with Connection(url) as connection:
        declare_own_queue(connection, "celery@w1")


async def test_a_worker_adds_its_broadcast_queue(rabbit: Rabbit, amqp_url: str):
    await declare_with_aio_pika(amqp_url, load())
    await asyncio.to_thread(declare_own, amqp_url)

    live = await listing(rabbit, amqp_url)
    assert live.queues["broadcast.celery@w1"] == {
        "durable": True,
        "exclusive": False,
        "auto_delete": False,
        "x-queue-type": "classic",
        "x-expires": 3_600_000,
    }
    assert {(b.source, b.key) for b in live.bindings if b.destination == "broadcast.celery@w1"} == {
        ("broadcast", ""),
        ("penstock_delivery", f"{ANY_DELAY}.broadcast.#"),
        ("penstock_delivery", f"{ANY_DELAY}.own-broadcast.celery@w1"),
    }


async def make_conflicts(url: str) -> aio_pika.abc.AbstractConnection:
    connection = await aio_pika.connect(url)
    channel = await connection.channel()
    await channel.declare_exchange("tasks", "topic", durable=True)
    await channel.declare_exchange("events", "topic", durable=False)
    quorum: dict[str, Any] = {"x-queue-type": "quorum"}
    await channel.declare_queue("default", durable=True, arguments={**quorum, "x-max-length": 7})
    await channel.declare_queue("scripts", durable=True)
    await channel.declare_queue("penstock_delay_3", durable=True, arguments=quorum)
    await channel.declare_queue("ranked", durable=True, exclusive=True)
    return connection


CONFLICTS = [
    ("exchange", "tasks", "type", "direct", "topic"),
    ("exchange", "events", "durable", "true", "false"),
    ("queue", "default"),
    ("queue", "scripts"),
    ("queue", "ranked", "exclusive", "false", "true"),
    ("queue", "penstock_delay_3"),
]


def assert_all_conflicts_told(error: DeclarationConflict) -> None:
    told = sorted((c.kind, c.name, c.argument, c.wanted, c.live) for c in error.conflicts)
    assert len(told) == len(CONFLICTS)
    for conflict, wanted in zip(told, sorted(CONFLICTS), strict=True):
        assert conflict[: len(wanted)] == wanted
        assert conflict[2] in {"type", "durable", "exclusive"} or conflict[2].startswith("x-")


async def test_aio_pika_tells_every_conflict_and_declares_the_rest(rabbit: Rabbit, amqp_url: str):
    async with await make_conflicts(amqp_url):
        with pytest.raises(DeclarationConflict) as raised:
            await declare_with_aio_pika(amqp_url, load())

        live = await listing(rabbit, amqp_url)

    assert_all_conflicts_told(raised.value)
    assert {"mongo_queue", "mongo_queue.dead", "penstock_delay_0"} <= set(live.queues)


async def test_kombu_tells_every_conflict(amqp_url: str):
    async with await make_conflicts(amqp_url):
        with pytest.raises(DeclarationConflict) as raised:
            await asyncio.to_thread(declare_with_kombu, amqp_url, load())

    assert_all_conflicts_told(raised.value)


async def test_the_callers_channels_survive_a_conflict(amqp_url: str):
    async with await aio_pika.connect_robust(amqp_url) as connection:
        channel = await connection.channel()
        await channel.declare_queue("default", durable=True)
        with pytest.raises(DeclarationConflict):
            await declare(connection, load())

        await channel.default_exchange.publish(aio_pika.Message(b"x"), "default")

        queue = await channel.get_queue("default")
        assert (await queue.get(no_ack=True)).body == b"x"


async def test_declaring_works_again_after_the_conflict_is_gone(amqp_url: str):
    async with await aio_pika.connect_robust(amqp_url) as connection:
        channel = await connection.channel()
        await channel.declare_queue("default", durable=True)
        with pytest.raises(DeclarationConflict, match="queue 'default': x-"):
            await declare(connection, load())
        await channel.queue_delete("default")

        await declare(connection, load())

        assert await probe(connection, load()) == ([], [])


async def test_probe_changes_nothing(rabbit: Rabbit, amqp_url: str):
    async with await make_conflicts(amqp_url), await aio_pika.connect(amqp_url) as connection:
        before = await listing(rabbit, amqp_url)

        absent, differing = await probe(connection, load())

        assert comparable(await listing(rabbit, amqp_url)) == comparable(before)
    assert "exchange 'broadcast'" in absent
    assert "queue 'mongo_queue'" in absent
    assert len(absent) == 34 + 46 - len(CONFLICTS)
    assert_all_conflicts_told(DeclarationConflict(differing))


async def test_a_closed_connection_is_a_connection_error(amqp_url: str):
    connection = await aio_pika.connect(amqp_url)
    await connection.close()

    with pytest.raises(ConnectionError, match="not connected"):
        await declare(connection, load())


@contextlib.asynccontextmanager
async def account(rabbit: Rabbit, amqp_url: str, **allowed: str) -> AsyncIterator[str]:
    """Give the address of the same virtual host for an account that may only do so much."""
    vhost = urlsplit(amqp_url).path[1:]
    api, allowed = f"{rabbit.management_url}/api", {"write": ".*", "read": ".*", **allowed}
    async with aiohttp.ClientSession(raise_for_status=True) as session:
        await session.put(f"{api}/users/reader", json={"password": "p", "tags": ""})
        try:
            await session.put(f"{api}/permissions/{vhost}/reader", json=allowed)
            yield f"amqp://reader:p@127.0.0.1:{rabbit.port}/{vhost}"
        finally:
            await session.delete(f"{api}/users/reader")


async def test_what_the_account_may_not_make_is_named(rabbit: Rabbit, amqp_url: str):
    async with account(rabbit, amqp_url, configure="^tasks$") as url:
        async with await aio_pika.connect(url) as connection:
            shortfall = await declare(connection, load())
        with pytest.raises(DeclarationError, match=r"exchange 'events': .*no exchange 'events'"):
            await asyncio.to_thread(declare_with_kombu, url, load())

    assert shortfall.ours
    assert "tasks" not in shortfall.exchanges
    assert {"events", "penstock_delivery"} <= set(shortfall.exchanges)
    assert {"default", "dead.outcomes", "penstock_delay_0"} <= set(shortfall.queues)
    assert not shortfall.bindings  # of what is not there
    assert "exchange 'events'" in str(shortfall)
    assert "python -m topology apply" in str(shortfall)


async def test_what_is_there_needs_no_permission(rabbit: Rabbit, amqp_url: str):
    await declare_with_aio_pika(amqp_url, load())
    async with account(rabbit, amqp_url, configure="^$") as url:
        async with await aio_pika.connect(url) as connection:
            assert not await declare(connection, load())
        await asyncio.to_thread(declare_with_kombu, url, load())
    narrow = account(rabbit, amqp_url, configure="^$", write="^(?!default$)")
    async with narrow as url, await aio_pika.connect(url) as connection:
        shortfall = await declare(connection, load())

    assert shortfall.bindings
    assert all(text.startswith("binding of queue 'default' to ") for text in shortfall.bindings)


APPS = Topology(
    exchanges=[
        Exchange(name="celery", type="direct", owner="app"),
        Exchange(name="C.dq2", type="direct", owner="app"),
        Exchange(name="tasks", type="direct"),
    ],
    queues=[
        Queue(name="celery", type="classic", dead_letter=False, owner="app"),
        Queue(name="late", type="classic", dead_letter=False, owner="app"),
        Queue(name="own"),
    ],
    bindings=[
        Binding(exchange="celery", queue="celery", key="celery"),
        Binding(exchange="tasks", queue="own", key="own"),
    ],
)


async def test_what_belongs_to_an_app_is_only_bound_for_delays(rabbit: Rabbit, amqp_url: str):
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        await channel.declare_queue("celery", durable=True, arguments={"x-max-priority": 10})
        before = await listing(rabbit, amqp_url)

        shortfall = await declare(connection, APPS)
        assert shortfall.apps_exchanges == ("celery", "C.dq2")
        assert not shortfall.ours
        assert not await appeared(connection, APPS, shortfall)
        await channel.declare_exchange("celery", "direct", durable=True)
        assert await appeared(connection, APPS, shortfall)

        shortfall = await declare(connection, APPS)
        assert shortfall.apps_exchanges == ("C.dq2",)
        await asyncio.to_thread(declare_with_kombu, amqp_url, APPS)
        after = await listing(rabbit, amqp_url)

    assert after.queues["celery"] == before.queues["celery"]
    assert "late" not in after.queues
    assert "C.dq2" not in after.exchanges
    assert [(b.source, b.key) for b in after.bindings if b.destination == "celery"] == [
        ("penstock_delivery", f"{ANY_DELAY}.celery")
    ]
    plan, apps = declarations(APPS), of_apps(APPS)
    assert not list(missing(plan, after))
    assert not list(surplus(plan, after))
    assert not list(conflicts(plan, after))
    assert not list(foreign(plan, apps, after))
    assert list(missing(apps, after)) == [
        "exchange 'C.dq2'",
        "queue 'late'",
        "binding of queue 'celery' to 'celery' with key 'celery'",
    ]
