"""What beat does with clocks, changed entries and programs of Celery's documentation."""

import json
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
from redbeat.schedulers import get_redis
from redis import Redis

from devstack.children import Child
from devstack.product import ROOT
from devstack.programs import child_environment
from penstock.worker.app import Penstock
from penstock.worker.beat.schedule import Scheduler
from penstock.worker.beat.schedule_entries import PeriodicEntry
from tests.support.beats import due, every, messages, runs
from tests.support.waiting import eventually


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
