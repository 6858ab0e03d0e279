"""What the gateway makes of schedules, against Celery's, RedBeat's and our beat's own code."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from celery import Celery
from celery.schedules import crontab, schedule
from hypothesis import assume, given
from hypothesis import strategies as st
from redbeat.decoder import RedBeatJSONDecoder, RedBeatJSONEncoder

from gateway.schedules.redbeat_forms import client_schedule, redbeat_time, unix_time
from gateway.schedules.schedule_request import parse_schedule
from penstock.wire.crontab import RANGES, parse_crontab
from penstock.wire.recurrence import next_run
from penstock.wire.sun import EVENTS, next_event
from penstock.worker.beat.schedule_entries import PeriodicEntry, Recurring
from penstock.worker.beat.seeds import fingerprint, stored_schedule
from penstock.worker.beat.solar import Solar

APP = Celery(set_as_current=False)
APP.conf.timezone = "UTC"


def specs(name: str) -> st.SearchStrategy[str]:
    low, high = RANGES[name]
    number = st.integers(low, high).map(str)
    part = st.one_of(
        st.just("*"),
        number,
        st.integers(1, 20).map(lambda step: f"*/{step}"),
        st.tuples(number, number).map("-".join),
        st.tuples(number, number, st.integers(1, 5).map(str)).map(
            lambda t: f"{t[0]}-{t[1]}/{t[2]}"
        ),
    )
    return st.lists(part, min_size=1, max_size=3).map(",".join)


CRONTABS = st.fixed_dictionaries({name: specs(name) for name in RANGES})


@given(CRONTABS)
def test_fields_mean_the_same_numbers_as_celerys(fields: dict[str, str]):
    try:
        theirs = crontab(**fields)
    except ValueError:
        with pytest.raises(ValueError, match="None of the days"):
            parse_crontab(fields, ZoneInfo("UTC"))
        return
    ours = parse_crontab(fields, ZoneInfo("UTC"))
    for name in RANGES:
        assert getattr(ours, name) == getattr(theirs, name), name


@given(
    CRONTABS,
    st.floats(1.77e9, 1.9e9).map(lambda moment: datetime.fromtimestamp(moment, UTC)),
    st.sampled_from(["UTC", "Asia/Kolkata", "Asia/Tokyo"]),
)
def test_the_next_run_is_celerys(fields: dict[str, str], last: datetime, zone: str):
    """In zones whose clocks do not change; see below for the others."""
    try:
        theirs = crontab(**fields, app=APP, nowfun=lambda: last)
        theirs.tz = ZoneInfo(zone)
        expected = last + theirs.remaining_estimate(last)
    except (ValueError, RuntimeError):
        assume(False)

    found = parse_crontab(fields, ZoneInfo(zone)).next_after(last.timestamp())

    assert found == expected.timestamp(), (fields, last)


def test_the_29th_of_february_on_a_weekday_is_found_and_the_30th_never():
    fields = dict.fromkeys(RANGES, "*") | {
        "day_of_month": "29", "month_of_year": "2", "day_of_week": "mon", "minute": "0", "hour": "0"
    }  # fmt: skip
    leap = parse_crontab(fields, ZoneInfo("UTC"))
    found = leap.next_after(datetime(2028, 3, 1, tzinfo=UTC).timestamp())
    assert found == datetime(2044, 2, 29, tzinfo=UTC).timestamp()
    with pytest.raises(ValueError, match="None of the days"):
        parse_crontab(fields | {"day_of_month": "30"}, ZoneInfo("UTC"))


def definition(**body: Any) -> str:
    request = parse_schedule(json.dumps({"task": "demo.add", "args": [1], **body}).encode())
    return request.definition("n").decode()


@pytest.mark.parametrize(
    "given_", [{"every": 15.5}, {"crontab": {"minute": "*/5", "day_of_week": "mon-fri"}}]
)
def test_redbeat_reads_our_schedules_and_we_read_its(given_: dict[str, Any]):
    ours = definition(**given_)
    theirs = json.dumps(json.loads(ours, cls=RedBeatJSONDecoder), cls=RedBeatJSONEncoder)

    assert json.loads(ours) == json.loads(theirs)
    [(kind, told)] = client_schedule(json.loads(theirs)["schedule"]).items()
    body = given_[kind]
    assert told == body if kind == "every" else body.items() <= told.items()


class Clock(Celery):  # type: ignore[misc]  # Celery has no types
    """An application whose clock a test sets."""

    moment = datetime(2026, 1, 1, tzinfo=UTC)

    def __init__(self) -> None:
        super().__init__(set_as_current=False)
        self.conf.redbeat_redis_url = "redis://localhost:1"

    def now(self) -> datetime:
        return self.moment


def entry_at(app: Clock, stored: dict[str, Any], last_run_at: datetime) -> PeriodicEntry:
    return PeriodicEntry(
        name="n", task="demo.add", app=app, schedule=Recurring(stored), last_run_at=last_run_at
    )


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"minute": "*/15"}, 4 * 4),
        ({"minute": "30", "hour": "2"}, 1),
        ({"minute": "*/15", "hour": "2"}, 8),
        ({"minute": "0", "hour": "*"}, 4),
    ],
)
def test_beat_fires_through_the_night_of_the_clock_change(fields: dict[str, str], expected: int):
    app = Clock()
    stored = {"__type__": "crontab", **fields, "timezone": "Europe/Berlin"}
    start = last = datetime(2026, 10, 24, 23, 0, tzinfo=UTC)
    fired = []
    for second in range(30, 4 * 3600 + 30, 30):
        app.moment = start + timedelta(seconds=second)
        entry = entry_at(app, stored, last)
        is_due, next_s = entry.is_due()
        if is_due:
            assert next_run(stored, last.timestamp()) == app.moment.timestamp()
            fired.append(app.moment)
            last = app.moment
        else:
            assert entry.score == app.moment.timestamp() + next_s

    assert len(fired) == expected


@pytest.mark.parametrize("event", EVENTS)
def test_our_beat_knows_every_event_of_the_sun(event: str):
    body = {"solar": {"event": event, "latitude": -37.8, "longitude": 144.96}}
    stored = json.loads(definition(**body))["schedule"]

    assert Recurring(stored) == Solar(event, -37.8, 144.96)


@pytest.mark.parametrize(
    "stored",
    [
        {"__type__": "solar", "event": "noon", "latitude": 1, "longitude": 2},
        {"__type__": "solar", "event": "sunset", "latitude": 91, "longitude": 2},
        {"__type__": "crontab", "minute": "0", "timezone": "Mars/Olympus"},
        {"__type__": "crontab", "minute": "0", "timezone": "right/Europe/Berlin"},
        {"__type__": "crontab", "minute": "61"},
        {"__type__": "crontab", "minute": {}},
        {"__type__": "interval"},
        {"__type__": "interval", "every": "x"},
        {"__type__": "interval", "every": -5},
        {"__type__": "interval", "every": 1e300},
        {"__type__": "interval", "every": float("nan")},
        {"__type__": "rrule", "freq": 3},
        {},
    ],
)
def test_what_the_calendar_cannot_read_is_a_value_error_for_both(stored: dict[str, Any]):
    with pytest.raises(ValueError, match=r"."):
        next_run(stored, 1.8e9)
    with pytest.raises(ValueError, match=r"."):
        Recurring(stored)


@pytest.mark.parametrize(
    ("every", "relative", "last"),
    [(90, False, 0), (90, True, 37.5), (7200, True, 3601), (86_400, True, 5), (10, True, 0.7)],
)
def test_intervals_end_when_celerys_do(every: float, relative: bool, last: float):
    at = datetime(2026, 5, 1, 10, 11, 12, tzinfo=UTC) + timedelta(seconds=last)
    theirs = schedule(timedelta(seconds=every), relative=relative, app=APP, nowfun=lambda: at)
    stored = stored_schedule(theirs, "UTC")

    expected = at + theirs.remaining_estimate(at)
    assert next_run(stored, at.timestamp()) == expected.timestamp()


@pytest.mark.parametrize(
    ("ahead_s", "stored", "counts_from_now"),
    [
        (3600, {"__type__": "interval", "every": 10}, True),
        (3600, {"__type__": "crontab", "minute": "*/5"}, True),
        (3600, {"__type__": "crontab", "minute": "5", "hour": "1"}, False),
        (4 * 3600, {"__type__": "crontab", "minute": "5", "hour": "1"}, True),
        (0.5, {"__type__": "interval", "every": 10}, False),
        (-10, {"__type__": "interval", "every": 10}, False),
    ],
)
def test_a_clock_that_was_set_back_repeats_no_fixed_time_and_stops_nothing(
    ahead_s: float, stored: dict[str, Any], counts_from_now: bool
):
    app = Clock()
    entry = entry_at(app, stored, app.moment + timedelta(seconds=ahead_s))

    assert entry.must_recount() is counts_from_now


@pytest.mark.parametrize(
    ("stored", "deadline_s", "too_late"),
    [
        ({"__type__": "crontab", "minute": "0", "hour": "3"}, 3600, False),
        ({"__type__": "crontab", "minute": "0", "hour": "3"}, 1000, True),
        ({"__type__": "crontab", "minute": "*"}, 60, False),
        ({"__type__": "interval", "every": 60}, 1, False),
    ],
)
def test_celerys_starting_deadline_bounds_how_late_a_crontab_may_be(
    stored: dict[str, Any], deadline_s: float, too_late: bool
):
    app = Clock()
    app.moment = datetime(2026, 1, 5, 3, 30, tzinfo=UTC)
    entry = entry_at(app, stored, datetime(2026, 1, 3, 12, tzinfo=UTC))

    assert entry.is_due().is_due
    assert entry.missed_by_more_than(deadline_s) is too_late


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        (crontab(minute=5), {"minute": "5"}),
        (crontab(minute="*/5", day_of_week="mon-fri"), {"minute": "*/5", "day_of_week": "mon-fri"}),
        (crontab(hour={3, 1}), {"hour": "1,3"}),
        (crontab(minute=[0, 30]), {"minute": "0,30"}),
    ],
)
def test_crontabs_of_python_code_are_kept_with_the_applications_zone(
    written: crontab, kept: dict[str, str]
):
    every = dict.fromkeys(RANGES, "*")

    assert stored_schedule(written, "UTC") == {"__type__": "crontab", **every, **kept}
    assert stored_schedule(written, "Asia/Tokyo")["timezone"] == "Asia/Tokyo"


def test_a_seed_is_known_again_however_it_was_written():
    ours = definition(crontab={"minute": "5"})
    theirs = json.loads(ours) | {"options": None, "kwargs": None}
    theirs["schedule"]["minute"] = 5

    assert fingerprint(json.dumps(theirs)) == fingerprint(ours) != ""
    for other in (definition(crontab={"minute": "6"}), definition(every=5), "{", "5", "null"):
        assert fingerprint(other) != fingerprint(ours)


@pytest.mark.parametrize(
    ("event", "latitude", "longitude", "after", "expected"),
    [  # of celery.schedules.solar with ephem 4.2.1
        ("dawn_civil", 60.17, 24.9, "2026-06-20T03:07", "2026-06-20T23:01:51"),
        ("sunrise", 60.17, 24.9, "2026-06-20T03:07", "2026-06-21T00:54:14"),
        ("solar_noon", 35.7, 139.7, "2026-02-04T03:07", "2026-02-05T02:55:07"),
        ("sunset", 60.17, 24.9, "2026-06-03T03:07", "2026-06-03T19:32:52"),
        ("dusk_civil", 60.17, 24.9, "2026-06-20T03:07", "2026-06-20T21:42:18"),
        ("dawn_astronomical", 51.48, 0, "2026-06-03T03:07", "2026-07-21T00:14:09"),
    ],
)
def test_the_sun_is_where_celerys_is(
    event: str, latitude: float, longitude: float, after: str, expected: str
):
    start = datetime.fromisoformat(after).replace(tzinfo=UTC)
    found = next_event(event, latitude, longitude, start.timestamp())

    assert found is not None
    off = found - datetime.fromisoformat(expected).replace(tzinfo=UTC).timestamp()
    assert abs(off) < 40


def test_a_solar_schedule_is_due_once_after_its_event():
    app = Clock()
    app.moment = datetime(2026, 6, 20, 12, tzinfo=UTC)
    sun = {"__type__": "solar", "event": "sunset", "latitude": 51.48, "longitude": 0}
    entry = entry_at(app, sun, app.moment)
    due = entry.score

    assert not entry.is_due().is_due
    app.moment = datetime.fromtimestamp(due, UTC)
    assert entry.is_due().is_due
    entry.last_run_at = app.moment
    assert not entry.is_due().is_due
    assert due + 86_000 < entry.score < due + 86_800
    entry.last_run_at = None  # never ran
    assert entry.is_due().is_due


def test_where_the_sun_never_sets_the_next_sunset_counts():
    after = datetime(2026, 5, 25, tzinfo=UTC).timestamp()

    found = next_event("sunset", 78.2, 15.6, after)
    assert found is not None
    assert datetime.fromtimestamp(found, UTC) > datetime(2026, 8, 15, tzinfo=UTC)
    assert next_event("sunset", 90, 0, after) is None


@given(st.floats(0, 4e9).map(lambda moment: round(moment, 6)))
def test_times_are_redbeats(moment: float):
    told = redbeat_time(moment)
    at = json.loads(json.dumps(told), cls=RedBeatJSONDecoder)

    assert abs(at.timestamp() - moment) < 1e-5
    assert abs((unix_time(json.loads(json.dumps(at, cls=RedBeatJSONEncoder))) or 0) - moment) < 1e-5
    assert unix_time(told) == pytest.approx(moment, abs=1e-5)
