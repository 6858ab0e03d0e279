"""What beat outlives: servers that go away, queues that refuse, entries that cannot be read."""

import json
import time
from typing import Any

import pytest
from kombu.connection import Connection
from redis import Redis

from devstack.rabbit import Rabbit
from devstack.redis_server import Redis as RedisServer
from gateway.schedules.redbeat_forms import redbeat_time
from penstock.worker.app import Penstock
from tests.support.beats import LOCK, BeatMaker, every, leading, messages, runs
from tests.support.waiting import eventually
from topology.kombu_queues import declare
from topology.model import Topology


async def test_an_entry_that_cannot_be_read_stops_no_other(
    beats: BeatMaker, client: Redis, app: Penstock
):
    good = {"every": 1, "relative": False, "__type__": "interval"}
    bad = {
        "not-json": "{",
        "no-object": "5",
        "no-schedule": json.dumps({"name": "x", "task": "y"}),
        "odd-field": json.dumps({"name": "x", "task": "y", "schedule": good, "odd": 1}),
        "odd-options": json.dumps({"name": "x", "task": "y", "schedule": good, "options": 5}),
        "odd-crontab": json.dumps(
            {"name": "x", "task": "y", "schedule": {"__type__": "crontab", "minute": "99"}}
        ),
        "after-all-days": json.dumps(
            {"name": "x", "task": "y", "schedule": good | {"every": 2.53e11}}
        ),
    }
    meta = {"last_run_at": redbeat_time(time.time()), "total_run_count": 1}
    client.hset("redbeat:after-all-days", "meta", json.dumps(meta))
    for name, definition in bad.items():
        client.hset(f"redbeat:{name}", "definition", definition)
        client.zadd("redbeat::schedule", {f"redbeat:{name}": 1})
    every(app, "mine", 1)

    async with leading(beats) as beat:
        await eventually(lambda: runs(client, "mine") >= 2, timeout_s=10)
        assert beat.running


async def test_beat_outlives_redis(
    beats: BeatMaker, client: Redis, app: Penstock, redis_server: RedisServer
):
    every(app, "mine", 1)
    async with leading(beats) as beat:
        pid = beat.pid
        await eventually(lambda: runs(client, "mine"))
        await redis_server.kill()
        await eventually(lambda: "not leading" in beat.log_tail(200), timeout_s=20)
        await redis_server.start()

        before = runs(client, "mine")
        await eventually(lambda: runs(client, "mine") >= before + 2, timeout_s=20)
        assert beat.running
        assert beat.pid == pid


@pytest.mark.usefixtures("redis_server")
async def test_beat_starts_while_redis_is_away(amqp_url: str, beats: BeatMaker, redis_server: Any):
    await redis_server.kill()
    try:
        beat = beats("early")
        await eventually(lambda: "not leading" in beat.log_tail(200), timeout_s=30)
    finally:
        await redis_server.start()

    await eventually(lambda: "beat: leading" in beat.log_tail(200), timeout_s=20)
    assert amqp_url


@pytest.mark.bare_vhost
async def test_a_run_that_no_queue_takes_is_not_counted_and_comes_later(
    beats: BeatMaker, client: Redis, app: Penstock, amqp_url: str, topology: Topology
):
    every(app, "mine", 1)
    async with leading(beats) as beat:
        await eventually(lambda: "mine not published" in beat.log_tail(200), timeout_s=10)
        assert runs(client, "mine") == 0

        with Connection(amqp_url) as connection:
            declare(connection, topology)
        await eventually(lambda: runs(client, "mine"), timeout_s=10)

    assert len(messages(amqp_url, "default")) == runs(client, "mine")


async def test_beat_outlives_rabbitmq_and_a_run_is_published_when_it_is_back(
    beats: BeatMaker, client: Redis, app: Penstock, rabbit: Rabbit, amqp_url: str
):
    every(app, "mine", 1)
    async with leading(beats) as beat:
        pid = beat.pid
        await eventually(lambda: runs(client, "mine"))
        await rabbit.settle()
        await rabbit.kill()
        await eventually(lambda: "mine not published" in beat.log_tail(200), timeout_s=20)
        before = runs(client, "mine")
        token = client.get(LOCK)
        await rabbit.start()

        await eventually(lambda: runs(client, "mine") >= before + 2, timeout_s=30)
        assert (beat.pid, beat.running) == (pid, True)
        assert client.get(LOCK) == token or "not leading" in beat.log_tail(400)

    ids = [message.headers["id"] for message in messages(amqp_url, "default")]
    assert len(set(ids)) == runs(client, "mine")
