"""Entries that cannot be published: they cost the others nothing, and RabbitMQ no connections."""

import logging
import math
import time
from collections.abc import Iterator

import pytest
from kombu.connection import Connection
from kombu.entity import Exchange
from redbeat.schedulers import get_redis
from redis import Redis

from devstack.proxy import Direction, TcpProxy
from devstack.rabbit import Rabbit
from penstock.worker.app import Penstock
from penstock.worker.beat.schedule import BROKER_WAIT_S, Scheduler
from tasks.app import build_app
from tasks.config import WorkerConfig
from tests.support.beats import due, every, messages, one_thread, runs
from topology.model import Topology

ALWAYS = 1e-6
"""Seconds: due at each look."""
NOWHERE = {"exchange": "nowhere", "routing_key": "x"}


def begun(app: Penstock) -> Scheduler:
    """A scheduler that leads, with nothing but a test's own entries."""
    app.conf.penstock_first_schedule = {}
    scheduler = Scheduler(app)
    scheduler.tick()
    return scheduler


@pytest.fixture
def scheduler(app: Penstock) -> Iterator[Scheduler]:
    scheduler = begun(app)
    yield scheduler
    scheduler.close()
    get_redis(app).close()


@pytest.mark.parametrize(
    ("fault", "options"),
    [
        ("NOT_FOUND", NOWHERE),
        ("no queue took the message", {"exchange": "tasks", "routing_key": "nothing"}),
        ("queue", {"queue": 5}),
    ],
)
def test_one_that_no_queue_takes_is_tried_ever_more_seldom_on_the_same_connection(
    app: Penstock,
    client: Redis,
    scheduler: Scheduler,
    caplog: pytest.LogCaptureFixture,
    fault: str,
    options: dict[str, object],
):
    every(app, "good", ALWAYS)
    scheduler.tick()
    connection = scheduler.connection.connection
    every(app, "bad", ALWAYS, options=options)
    waits = []
    for _ in range(8):
        client.zadd("redbeat::schedule", {"redbeat:bad": 1, "redbeat:good": 2})
        scheduler.tick()
        waits.append(math.ceil(due(client, "bad") - time.time()))

    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    assert scheduler.connection.connection is connection
    assert (runs(client, "good"), runs(client, "bad")) == (9, 0)
    (line,) = [one for one in caplog.messages if "bad not published" in one]
    assert fault in line


def test_one_that_can_be_published_again_is_and_begins_anew(
    app: Penstock,
    client: Redis,
    scheduler: Scheduler,
    amqp_url: str,
    caplog: pytest.LogCaptureFixture,
):
    caplog.set_level(logging.INFO, "celery.beat")
    every(app, "mine", ALWAYS, options=NOWHERE)
    for _ in range(3):
        client.zadd("redbeat::schedule", {"redbeat:mine": 1})
        scheduler.tick()
    with Connection(amqp_url) as connection, connection.channel() as channel:
        exchange = Exchange("nowhere", "fanout", channel=channel)
        exchange.declare()
        channel.queue_bind("default", "nowhere")
        client.zadd("redbeat::schedule", {"redbeat:mine": 1})
        scheduler.tick()
        exchange.delete()

    assert runs(client, "mine") == len(messages(amqp_url, "default")) == 1
    assert any("mine published again" in one for one in caplog.messages)


async def test_a_broker_that_does_not_answer_is_asked_once_a_look(
    amqp_url: str, redis_url: str, topology: Topology, client: Redis, rabbit: Rabbit
):
    async with TcpProxy(rabbit.port) as proxy, one_thread() as call:
        config = WorkerConfig(amqp_url=proxy.url_through(amqp_url), redis_url=redis_url)
        app = build_app(config, topology)
        scheduler = await call(begun, app)
        names = [f"each-{number}" for number in range(5)]
        for name in names:
            every(app, name, ALWAYS)
        proxy.stall(Direction.TO_CLIENT)
        before = time.monotonic()

        await call(scheduler.tick)

        assert time.monotonic() - before < 2 * BROKER_WAIT_S
        assert scheduler.faults.failing is None
        proxy.resume()
        await call(scheduler.tick)
        assert [runs(client, name) for name in names] == [1] * 5
        await call(scheduler.close)
        get_redis(app).close()
