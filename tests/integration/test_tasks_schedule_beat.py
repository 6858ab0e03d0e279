"""A real beat process against real servers; what it publishes is counted in the queues."""

import json
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from celery.schedules import crontab, schedule
from kombu.connection import Connection
from redbeat.schedulers import RedBeatSchedulerEntry, get_redis
from redis import Redis

from devstack.children import Child
from devstack.product import ROOT
from devstack.programs import child_environment
from devstack.proxy import Direction, TcpProxy
from devstack.rabbit import Rabbit
from devstack.redis_server import Redis as RedisServer
from penstock.worker.app import Penstock
from penstock.worker.beat.schedule import LOCK_TIMEOUT_S, Scheduler
from penstock.worker.beat.schedule_entries import PeriodicEntry
from penstock.worker.beat.seeds import Seeds
from penstock.worker.beat.solar import Solar
from penstock.worker.redis_client import sync_client
from tasks.app import build_app
from tasks.config import WorkerConfig
from tasks.periodic import SHIPPED
from tests.waiting import eventually
from topology.kombu_queues import declare
from topology.layout import load
from topology.model import Topology

LOCK = "redbeat::lock"
BeatMaker = Callable[..., Child]


@pytest.fixture
def topology() -> Topology:
    return load()


@pytest.fixture
def app(amqp_url: str, redis_url: str, topology: Topology) -> Penstock:
    return build_app(WorkerConfig(amqp_url=amqp_url, redis_url=redis_url), topology)


@pytest.fixture
def client(redis_url: str):
    with sync_client(redis_url) as client:
        yield client


@pytest.fixture
def declared(amqp_url: str, topology: Topology) -> None:
    with Connection(amqp_url) as connection:
        declare(connection, topology)


@pytest.fixture
async def beats(amqp_url: str, redis_url: str, tmp_path: Path) -> AsyncIterator[BeatMaker]:
    made: list[Child] = []

    def beat(name: str, **more: str) -> Child:
        variables = {
            "AMQP_URL": amqp_url,
            "REDIS_URL": redis_url,
            "HEALTH_FILE": str(tmp_path / f"{name}.alive"),
            "PYTHONPATH": str(ROOT),
        }
        env = child_environment(**variables | more)
        argv = [sys.executable, "-m", "celery", "-A", "tasks.worker", "beat", "-l", "INFO"]
        child = Child(name, argv, log=tmp_path / f"{name}.log", env=env, cwd=tmp_path)
        made.append(child)
        child.spawn()
        return child

    yield beat
    for child in made:
        await child.kill()
        print(child.name, child.log_tail(60))  # noqa: T201  # shown when a test fails


@asynccontextmanager
async def leading(beats: BeatMaker, name: str = "beat") -> AsyncIterator[Child]:
    """A beat that leads, stopped in order afterwards."""
    beat = beats(name)
    await eventually(lambda: "beat: leading" in beat.log_tail(200), timeout_s=20)
    yield beat
    await beat.stop()


def every(app: Penstock, name: str, seconds: float = 1, **fields: Any) -> RedBeatSchedulerEntry:
    definition = {"task": "demo.add", "args": [1, 2], **fields}
    entry = RedBeatSchedulerEntry(
        name=name, schedule=schedule(timedelta(seconds=seconds)), app=app, **definition
    )
    return entry.save()


def runs(client: Redis, name: str) -> int:
    """How often the schedule says that it ran."""
    meta = client.hget(f"redbeat:{name}", "meta")
    return int(json.loads(meta or "{}").get("total_run_count", 0))


def due(client: Redis, name: str) -> float:
    """When beat looks at the schedule, unix seconds."""
    return float(client.zscore("redbeat::schedule", f"redbeat:{name}") or 0)


def is_due(app: Penstock, name: str) -> bool:
    return bool(PeriodicEntry.from_key(f"redbeat:{name}", app=app).is_due().is_due)


def messages(url: str, queue: str) -> list[Any]:
    """Take every message out of a queue."""
    taken = []
    with Connection(url) as connection, closing(connection.channel()) as channel:
        while (message := channel.basic_get(queue, no_ack=True)) is not None:
            taken.append(message)
    return taken


@pytest.mark.usefixtures("declared")
async def test_the_shipped_tasks_are_seeded_and_published_to_their_queues(
    beats: BeatMaker, client: Redis, amqp_url: str, tmp_path: Path
):
    async with leading(beats):
        await eventually(lambda: runs(client, "heartbeat") and runs(client, "script-heartbeat"))

    (heartbeat,) = messages(amqp_url, "periodic")
    (script,) = messages(amqp_url, "scripts")
    assert heartbeat.headers["task"] == "periodic.heartbeat"
    assert heartbeat.properties["delivery_mode"] == 2
    assert script.headers["task"] == "scripts.run"
    assert json.loads(script.body)[:2] == [["heartbeat.sh"], {}]
    assert script.headers["x-penstock-copy"]
    assert (tmp_path / "beat.alive").exists()


def test_one_shipped_task_fires_at_least_every_15_s_and_one_each_minute():
    assert SHIPPED["heartbeat"]["schedule"].run_every <= timedelta(seconds=13)  # and a tick or two
    assert SHIPPED["script-heartbeat"]["schedule"] == crontab()


@pytest.mark.usefixtures("declared")
async def test_edits_and_deletions_of_shipped_tasks_survive_a_restart(
    beats: BeatMaker, client: Redis, app: Penstock
):
    async with leading(beats, "first"):
        await eventually(lambda: runs(client, "script-heartbeat"))
    RedBeatSchedulerEntry.from_key("redbeat:script-heartbeat", app=app).delete()
    every(app, "heartbeat", 3600, task="demo.add")
    every(app, "mine", 1)

    async with leading(beats, "second"):
        await eventually(lambda: runs(client, "mine"))

    assert not client.exists("redbeat:script-heartbeat")
    entry = RedBeatSchedulerEntry.from_key("redbeat:heartbeat", app=app)
    assert (entry.task, entry.schedule.run_every) == ("demo.add", timedelta(hours=1))


@pytest.fixture
def sowing(app: Penstock, client: Redis):
    """Say what the code says, and start a beat as far as that matters."""

    def sow(**seconds: float) -> dict[str, Any]:
        app.conf.beat_schedule = {
            name: {"task": "demo.add", "schedule": each, "args": (1, 2)}
            for name, each in seconds.items()
        }
        Seeds(app).sow()
        entries = {name: client.hget(f"redbeat:{name}", "definition") for name in ("a", "b", "c")}
        return {name: json.loads(e)["schedule"]["every"] for name, e in entries.items() if e}

    yield sow
    get_redis(app).close()


def test_what_the_code_says_is_taken_over_unless_it_was_edited_or_deleted(
    sowing: Any, client: Redis, app: Penstock
):
    assert sowing(a=10, b=20, c=30) == {"a": 10, "b": 20, "c": 30}
    assert is_due(app, "heartbeat")  # shipped: a new deployment shows that it works
    assert not is_due(app, "a")  # as with Celery's own beat
    client.hset("redbeat:a", "meta", '{"last_run_at": null, "total_run_count": 7}')
    assert sowing(a=11, b=20) == {"a": 11, "b": 20}  # an edited one, and one that is gone
    assert not is_due(app, "a")  # changed: no time counts that passed under the old one
    assert client.zscore("redbeat::schedule", "redbeat:c") is None
    assert runs(client, "a") == 7
    assert sowing(a=11, b=20, c=31) == {"a": 11, "b": 20, "c": 31}  # and is back

    every(app, "a", 5)
    RedBeatSchedulerEntry.from_key("redbeat:b", app=app).delete()
    for _ in range(2):
        assert sowing(a=12, b=21, c=31) == {"a": 5, "c": 31}
    assert sowing() == {"a": 5}


def test_seeds_of_before_there_were_fingerprints_are_known_again(
    sowing: Any, client: Redis, app: Penstock
):
    every(app, "a", 10)  # as RedBeat writes it
    every(app, "b", 20)
    client.sadd("redbeat::statics", "a", "b", "c")

    assert sowing(a=10, b=21, c=30) == {"a": 10, "b": 20}
    assert sowing(a=11, b=21, c=30) == {"a": 11, "b": 20}


def test_what_cannot_be_kept_stops_no_other_seed(app: Penstock, client: Redis):
    app.conf.beat_schedule = {
        "no-task": {"schedule": 5},
        "no-schedule": {"task": "demo.add", "schedule": {}},
        "odd-option": {"task": "demo.add", "schedule": 5, "options": {"x": {1}}},
        "fine": {"task": "demo.add", "schedule": Solar("sunset", 52.5, 13.4)},
    }
    Seeds(app).sow()
    get_redis(app).close()

    kept: Any = client.zrange("redbeat::schedule", 0, -1)
    assert set(kept) == {b"redbeat:fine", b"redbeat:heartbeat", b"redbeat:script-heartbeat"}


@pytest.mark.usefixtures("declared")
def test_when_the_clock_was_set_every_entry_is_planned_again(app: Penstock, client: Redis):
    scheduler = Scheduler(app)
    scheduler.tick()
    every(app, "mine", 3600)
    for name, ahead_s in (("mine", 1800), ("heartbeat", 1800)):  # ran by a clock that was ahead
        entry = PeriodicEntry.from_key(f"redbeat:{name}", app=app)
        entry.ran(app.now() + timedelta(seconds=ahead_s))
    scheduler.tick()
    assert due(client, "heartbeat") > time.time() + 1800

    scheduler._clock += 1800
    scheduler.tick()
    assert due(client, "heartbeat") < time.time() + 11
    assert due(client, "mine") < time.time() + 3601
    scheduler.close()
    get_redis(app).close()


@pytest.mark.usefixtures("declared")
@pytest.mark.parametrize("key", ["redbeat::schedule", "redbeat::statics", "redbeat::lock"])
def test_beat_survives_keys_of_another_type_and_goes_on(
    app: Penstock, client: Redis, key: str, caplog: pytest.LogCaptureFixture
):
    scheduler = Scheduler(app)
    client.rpush(key, "x")
    for _ in range(5):
        assert scheduler.tick() <= scheduler.max_interval
    said = [record for record in caplog.records if record.message.startswith("beat: not leading")]
    assert len(said) == (key != "redbeat::lock")  # that one looks like a colleague's

    client.delete(key)
    scheduler.tick()

    assert scheduler.faults.failing is None
    every(app, "mine", 3600)
    assert due(client, "mine")
    scheduler.close()
    get_redis(app).close()


@pytest.mark.usefixtures("declared")
def test_beat_survives_a_health_file_that_cannot_be_touched(
    app: Penstock, client: Redis, tmp_path: Path
):
    app.conf.penstock_health_file = tmp_path / "gone" / "alive"
    scheduler = Scheduler(app)

    scheduler.tick()

    assert scheduler.faults.failing is None
    scheduler.close()
    get_redis(app).close()


def test_a_run_that_is_noted_after_a_change_is_counted_and_counts_for_nothing_else(
    app: Penstock, client: Redis
):
    every(app, "mine", 3600)
    read_before = PeriodicEntry.from_key("redbeat:mine", app=app)
    PeriodicEntry.from_key("redbeat:mine", app=app).ran(app.now())  # another beat's, or a change
    meta, score = client.hget("redbeat:mine", "meta"), due(client, "mine")

    read_before.ran(app.now() - timedelta(hours=5))
    get_redis(app).close()

    after = json.loads(client.hget("redbeat:mine", "meta") or "{}")
    assert after == json.loads(meta or "{}") | {"total_run_count": 2}
    assert due(client, "mine") == score


PROGRAM = """
import os
from tasks.app import build_app
from tasks.config import WorkerConfig
from topology.layout import load_from_env

app = build_app(WorkerConfig.from_env(os.environ), load_from_env(os.environ))


@app.on_after_configure.connect
def set_up(sender, **_):
    sender.add_periodic_task(1.0, hello.s("x"), name="hello")


@app.task(name="demo.hello")
def hello(text):
    return text
"""


@pytest.mark.usefixtures("declared")
async def test_a_program_of_celerys_documentation_is_beaten(
    amqp_url: str, redis_url: str, client: Redis, tmp_path: Path
):
    (tmp_path / "program.py").write_text(PROGRAM)
    urls = {"AMQP_URL": amqp_url, "REDIS_URL": redis_url}
    env = child_environment(**urls, PYTHONPATH=f"{ROOT}:{tmp_path}")
    argv = [sys.executable, "-m", "celery", "-A", "program", "beat", "-l", "INFO", "-s", "x.db"]
    beat = Child("beat", argv, log=tmp_path / "beat.log", env=env, cwd=tmp_path)
    beat.spawn()
    try:
        await eventually(lambda: runs(client, "hello") >= 2, timeout_s=40)
        assert "-s x.db is not used" in beat.log.read_text()
    finally:
        await beat.stop()

    assert messages(amqp_url, "default")[0].headers["task"] == "demo.hello"


@pytest.mark.usefixtures("declared")
async def test_after_a_kill_9_the_other_beat_leads_within_seconds_and_never_both(
    beats: BeatMaker, client: Redis, app: Penstock, amqp_url: str, tmp_path: Path
):
    every(app, "mine", 1)
    async with leading(beats, "first") as first:
        beats("second")
        await eventually((tmp_path / "second.alive").exists, timeout_s=20)
        await eventually(lambda: runs(client, "mine") >= 3, timeout_s=10)
        assert "beat: leading" not in (tmp_path / "second.log").read_text()
        token = client.get(LOCK)

        await first.kill()
        await eventually(
            lambda: client.get(LOCK) not in {None, token}, timeout_s=LOCK_TIMEOUT_S + 3
        )

        before = runs(client, "mine")
        await eventually(lambda: runs(client, "mine") >= before + 2, timeout_s=10)
    client.set(LOCK, "nobody")  # whoever leads stops
    await eventually(lambda: "not leading" in (tmp_path / "second.log").read_text())

    ids = [message.headers["id"] for message in messages(amqp_url, "default")]
    assert len(ids) - runs(client, "mine") in {0, 1}  # one: killed between publish and advance
    assert len(set(ids)) == runs(client, "mine")


@pytest.mark.usefixtures("declared")
async def test_a_beat_that_is_stopped_gives_the_lock_back_at_once(beats: BeatMaker, client: Redis):
    async with leading(beats) as beat:
        assert client.ttl(LOCK) <= LOCK_TIMEOUT_S

    assert beat.returncode == 0
    assert not client.exists(LOCK)


@pytest.mark.usefixtures("declared")
async def test_a_beat_that_is_stopped_while_it_publishes_ends_and_gives_the_lock_back(
    beats: BeatMaker, client: Redis, app: Penstock, amqp_url: str, rabbit: Rabbit
):
    every(app, "mine", 1)
    due = ("mine", "heartbeat", "script-heartbeat")
    async with TcpProxy(rabbit.port) as proxy:
        beat = beats("beat", AMQP_URL=proxy.url_through(amqp_url))
        for _ in range(3):
            # all that is due at once, so that the next message is a second away
            await eventually(lambda: all(runs(client, each) for each in due), timeout_s=30)
            sent = proxy.passed_bytes[Direction.TO_SERVER]
            proxy.stall(Direction.TO_CLIENT)  # no confirm comes
            await eventually(lambda: proxy.passed_bytes[Direction.TO_SERVER] > sent + 500, 20)  # noqa: B023
            beat.signal(signal.SIGTERM)
            await eventually(lambda: not beat.running, timeout_s=10)  # docker's patience

            assert beat.returncode == 0
            assert not client.exists(LOCK)
            proxy.resume()
            client.hdel("redbeat:mine", "meta")
            beat.spawn()


@pytest.mark.usefixtures("declared")
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
    }
    for name, definition in bad.items():
        client.hset(f"redbeat:{name}", "definition", definition)
        client.zadd("redbeat::schedule", {f"redbeat:{name}": 1})
    every(app, "mine", 1)

    async with leading(beats) as beat:
        await eventually(lambda: runs(client, "mine") >= 2, timeout_s=10)
        assert beat.running


@pytest.mark.usefixtures("declared")
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


@pytest.mark.usefixtures("declared")
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


@pytest.mark.usefixtures("declared")
async def test_a_frozen_beat_publishes_nothing_after_another_took_over(
    beats: BeatMaker, client: Redis, app: Penstock, amqp_url: str
):
    async with leading(beats, "frozen") as frozen:
        await eventually(lambda: runs(client, "heartbeat"), timeout_s=20)
        frozen.signal(signal.SIGSTOP)
        async with leading(beats, "second"):
            every(app, "mine", 1)
            await eventually(lambda: runs(client, "mine") >= 2, timeout_s=30)
            token = client.get(LOCK)
            frozen.signal(signal.SIGCONT)
            await eventually(lambda: "not leading" in frozen.log_tail(200), timeout_s=30)
            before = runs(client, "mine")
            await eventually(lambda: runs(client, "mine") >= before + 2, timeout_s=30)
            assert client.get(LOCK) == token
            # here: it may lead again as soon as the second has stopped
            assert "beat: published mine" not in frozen.log.read_text()

    assert len(messages(amqp_url, "default")) == runs(client, "mine")
