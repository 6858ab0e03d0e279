"""The periodic tasks that ship: planted in Redis once, and the users' own from then on."""

import json
import secrets
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
from celery.schedules import crontab
from redbeat.schedulers import RedBeatSchedulerEntry, get_redis
from redis import Redis
from redis.exceptions import RedisError

from penstock.worker.app import Penstock
from penstock.worker.beat.seeds import Seeds
from penstock.worker.beat.solar import Solar
from tasks.app import build_app
from tasks.config import WorkerConfig
from tasks.periodic import SHIPPED
from tests.support.beats import BeatMaker, due, every, is_due, leading, messages, runs
from tests.support.waiting import eventually
from topology.model import Topology


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


@pytest.fixture
def refused_app(
    client: Redis, amqp_url: str, redis_url: str, topology: Topology
) -> Iterator[Penstock]:
    """An application whose Redis takes a hash of it and no sorted set."""
    name, password = "half", secrets.token_hex()
    client.acl_setuser(
        name,
        enabled=True,
        passwords=[f"+{password}"],
        categories=["+@all"],
        commands=["-zadd"],
        keys=["*"],
    )
    url = urlsplit(redis_url)
    netloc = f"{name}:{password}@{url.hostname}:{url.port}"
    config = WorkerConfig(amqp_url=amqp_url, redis_url=urlunsplit(url._replace(netloc=netloc)))
    app = build_app(config, topology)
    yield app
    get_redis(app).close()
    client.acl_deluser(name)


def test_a_seed_that_redis_takes_in_part_only_is_sown_at_the_next_lead(
    refused_app: Penstock, app: Penstock, client: Redis
):
    app.conf.beat_schedule = {"mine": {"task": "demo.add", "schedule": 5}}
    refused_app.conf.update(beat_schedule=app.conf.beat_schedule, penstock_first_schedule={})
    with pytest.raises(RedisError):
        Seeds(refused_app).sow()
    assert not client.exists("redbeat:mine")

    Seeds(app).sow()
    get_redis(app).close()

    assert due(client, "mine")


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
