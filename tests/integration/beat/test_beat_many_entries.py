"""A schedule of many entries that have nothing to do: what is due is published in time."""

import json
import time

from redbeat.schedulers import RedBeatSchedulerEntry, get_redis
from redis import Redis

from devstack.proxy import TcpProxy
from devstack.redis_server import Redis as RedisServer
from penstock.wire.schedules import NEVER, Owner
from penstock.worker.app import Penstock
from penstock.worker.beat.schedule import Scheduler
from penstock.worker.beat.schedule_entries import PeriodicEntry
from tasks.app import build_app
from tasks.config import WorkerConfig
from tests.support.beats import due, every, one_thread, runs
from topology.model import Topology


def test_what_is_switched_off_is_not_looked_at_until_it_is_switched_on(
    app: Penstock, client: Redis
):
    for name in ("off", "mine"):
        entry = every(app, name, 3600, enabled=name == "mine")
        PeriodicEntry.from_key(f"redbeat:{name}", app=app).ran(app.now())
        client.zadd("redbeat::schedule", {entry.key: 1})  # as a program wrote it, days ago
    scheduler = Scheduler(app)

    scheduler.tick()
    assert due(client, "off") == NEVER
    assert due(client, "mine") > time.time()

    scheduler._planned = False  # as after taking the lead
    scheduler.tick()
    assert due(client, "off") == NEVER

    entry = RedBeatSchedulerEntry.from_key("redbeat:off", app=app)
    entry.enabled = True
    entry.save()
    scheduler.tick()
    assert time.time() < due(client, "off") <= time.time() + 3600
    scheduler.close()
    get_redis(app).close()


def test_one_that_is_let_run_while_beat_looks_at_it_keeps_its_time(app: Penstock, client: Redis):
    every(app, "mine", 3600)
    suspended = Owner(key="k", suspended="its key is gone").dump()
    client.hset("redbeat:mine", "owner", suspended)
    read_before = PeriodicEntry.from_key("redbeat:mine", app=app)

    client.hset("redbeat:mine", mapping={"owner": Owner(key="k").dump(), "meta": json.dumps({})})
    client.zadd("redbeat::schedule", {"redbeat:mine": 5})  # as the gateway lets it run
    read_before.plan()
    get_redis(app).close()

    assert due(client, "mine") == 5


async def test_a_look_that_takes_longer_than_the_lock_lasts_keeps_the_lead(
    amqp_url: str,
    redis_url: str,
    redis_server: RedisServer,
    client: Redis,
    topology: Topology,
):
    for number in range(60):  # two commands each
        client.hset(f"redbeat:bad{number}", "definition", "{")
        client.zadd("redbeat::schedule", {f"redbeat:bad{number}": number})
    async with TcpProxy(redis_server.port, away_s=0.012) as proxy, one_thread() as call:
        config = WorkerConfig(amqp_url=amqp_url, redis_url=proxy.url_through(redis_url))
        app = build_app(config, topology)
        app.conf.update(redbeat_lock_timeout=1, penstock_first_schedule={})
        every(build_app(WorkerConfig(amqp_url=amqp_url, redis_url=redis_url), topology), "mine", 1)
        scheduler = Scheduler(app)
        scheduler._planned = True
        before = time.monotonic()

        await call(scheduler.tick)

        assert time.monotonic() - before > 2
        assert scheduler.faults.failing is None
        assert runs(client, "mine") == 1
        await call(scheduler.close)
        get_redis(app).close()
