"""An application with a time zone: what is kept of a run is an instant, not what a wall showed."""

import json
import time
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from celery import Celery
from redbeat.schedulers import get_redis
from redis import Redis

from gateway.schedules.redbeat_forms import unix_time
from penstock.worker.app import Penstock
from penstock.worker.beat.schedule_entries import PeriodicEntry, Recurring
from penstock.worker.beat.seeds import Seeds
from tests.support.beats import due

BERLIN = ZoneInfo("Europe/Berlin")
TWICE = [datetime(2026, 10, 25, 2, 7, tzinfo=BERLIN, fold=fold) for fold in (0, 1)]
"""The clocks showed this minute twice."""
QUARTERLY = {"__type__": "crontab", "minute": "*/15"}


class At(Celery):  # type: ignore[misc]  # Celery has no types
    """An application whose clock stands."""

    at: datetime

    def now(self) -> datetime:
        return self.at


@pytest.mark.parametrize("ran_at", TWICE, ids=["first", "second"])
def test_a_run_in_the_hour_that_comes_twice_counts_from_when_it_was(
    app: Penstock, client: Redis, ran_at: datetime
):
    definition = {"name": "mine", "task": "demo.add", "schedule": QUARTERLY}
    client.hset("redbeat:mine", "definition", json.dumps(definition))
    client.zadd("redbeat::schedule", {"redbeat:mine": 1})

    PeriodicEntry.from_key("redbeat:mine", app=app).ran(ran_at)

    after = PeriodicEntry.from_key("redbeat:mine", app=app)
    get_redis(app).close()
    assert after.last_run_at is not None
    assert after.last_run_at.timestamp() == ran_at.timestamp()
    assert due(client, "mine") == ran_at.timestamp() + 8 * 60


def test_a_seed_counts_from_when_it_was_written(app: Penstock, client: Redis):
    app.conf.timezone = "Europe/Berlin"
    app.conf.beat_schedule = {"mine": {"task": "demo.add", "schedule": 5}}

    Seeds(app).sow()
    get_redis(app).close()

    for field, moment in (("meta", "last_run_at"), ("penstock", "changed_at")):
        kept: dict[str, Any] = json.loads(client.hget("redbeat:mine", field) or "{}")[moment]
        assert kept["timezone"] in {"UTC", 0}
        assert abs((unix_time(kept) or 0) - time.time()) < 20


def test_a_clock_that_was_set_back_between_two_hours_of_one_name_is_noticed():
    app = At(set_as_current=False, broker="memory://")
    app.conf.redbeat_redis_url = "redis://127.0.0.1:1"
    app.at, ahead = TWICE
    recurring = Recurring({"__type__": "interval", "every": 60})
    entry = PeriodicEntry("mine", "demo.add", recurring, app=app)
    entry.last_run_at = ahead

    assert entry.must_recount()
