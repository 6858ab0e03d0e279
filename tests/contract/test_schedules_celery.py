"""What the gateway makes of schedules, against Celery's, RedBeat's and our beat's own code."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from celery import Celery
from celery.schedules import crontab
from hypothesis import assume, given
from hypothesis import strategies as st
from redbeat.decoder import RedBeatJSONDecoder, RedBeatJSONEncoder

from gateway.schedules.crontab import RANGES, parse_crontab
from gateway.schedules.schedule_request import (
    SOLAR_EVENTS,
    client_schedule,
    next_run,
    parse_schedule,
    redbeat_time,
    unix_time,
)
from tasks.schedule_entries import Decoder
from tasks.solar import Solar, next_event

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


def test_a_time_that_the_clocks_skip_comes_later_and_one_that_comes_twice_comes_twice():
    berlin = ZoneInfo("Europe/Berlin")
    fields = dict.fromkeys(RANGES, "*") | {"minute": "30", "hour": "2"}
    daily = parse_crontab(fields, berlin)

    skipped = daily.next_after(datetime(2026, 3, 28, 12, tzinfo=UTC).timestamp())
    assert skipped == datetime(2026, 3, 29, 1, 30, tzinfo=UTC).timestamp()
    first = daily.next_after(datetime(2026, 10, 24, 12, tzinfo=UTC).timestamp())
    assert first == datetime(2026, 10, 25, 0, 30, tzinfo=UTC).timestamp()
    assert first is not None
    assert daily.next_after(first) == first + 3600


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
    return json.dumps(request.definition("n"))


@pytest.mark.parametrize(
    "schedule", [{"every": 15.5}, {"crontab": {"minute": "*/5", "day_of_week": "mon-fri"}}]
)
def test_redbeat_reads_our_schedules_and_we_read_its(schedule: dict[str, Any]):
    ours = definition(**schedule)
    theirs = json.dumps(json.loads(ours, cls=RedBeatJSONDecoder), cls=RedBeatJSONEncoder)

    assert json.loads(ours) == json.loads(theirs)
    [(kind, told)] = client_schedule(json.loads(theirs)["schedule"]).items()
    given_ = schedule[kind]
    assert told == given_ if kind == "every" else given_.items() <= told.items()


def test_our_beat_reads_time_zones():
    zoned = json.loads(
        definition(crontab={"minute": "0", "hour": "9", "timezone": "America/New_York"}),
        cls=Decoder,
    )["schedule"]
    last = datetime(2026, 1, 15, 15, tzinfo=UTC)
    zoned.app, zoned.nowfun = APP, lambda: last
    expected = datetime(2026, 1, 16, 14, tzinfo=UTC)

    assert last + zoned.remaining_estimate(last) == expected
    raw = json.loads(definition(crontab={"minute": 0, "hour": 9, "timezone": "America/New_York"}))
    assert next_run(raw["schedule"], last.timestamp()) == expected.timestamp()


@pytest.mark.parametrize("event", SOLAR_EVENTS)
def test_our_beat_knows_every_event_of_the_sun(event: str):
    body = {"solar": {"event": event, "latitude": -37.8, "longitude": 144.96}}
    solar = json.loads(definition(**body), cls=Decoder)["schedule"]

    assert isinstance(solar, Solar)
    assert solar == Solar(event, -37.8, 144.96)


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
    found = next_event(
        event, latitude, longitude, datetime.fromisoformat(after).replace(tzinfo=UTC)
    )

    off = found - datetime.fromisoformat(expected).replace(tzinfo=UTC)
    assert abs(off) < timedelta(seconds=40)


def test_a_solar_schedule_is_due_once_after_its_event():
    now = datetime(2026, 6, 20, 12, tzinfo=UTC)
    solar = Solar("sunset", 51.48, 0, app=APP, nowfun=lambda: now)
    sunset = next_event("sunset", 51.48, 0, now)

    assert not solar.is_due(now).is_due
    now = sunset + timedelta(seconds=1)
    assert solar.is_due(sunset - timedelta(hours=1)).is_due
    assert not solar.is_due(now).is_due
    assert solar.is_due(datetime(1, 1, 2, tzinfo=UTC)).is_due  # as RedBeat says "never ran"


@given(
    event=st.sampled_from(SOLAR_EVENTS),
    latitude=st.floats(-90, 90),
    longitude=st.floats(-180, 180),
    after=st.integers(1_700_000_000, 2_000_000_000),
)
def test_the_gateway_tells_the_sun_s_events_that_beat_waits_for(
    event: str, latitude: float, longitude: float, after: int
):
    schedule = {"__type__": "solar", "event": event, "latitude": latitude, "longitude": longitude}
    expected = next_event(event, latitude, longitude, datetime.fromtimestamp(after, UTC))

    assert next_run(schedule, after) == pytest.approx(expected.timestamp(), abs=0.001)


def test_where_the_sun_never_sets_the_next_sunset_counts():
    after = datetime(2026, 5, 25, tzinfo=UTC)

    assert next_event("sunset", 78.2, 15.6, after) > datetime(2026, 8, 15, tzinfo=UTC)


@given(st.floats(0, 4e9).map(lambda moment: round(moment, 6)))
def test_times_are_redbeats(moment: float):
    told = redbeat_time(moment)
    at = json.loads(json.dumps(told), cls=RedBeatJSONDecoder)

    assert abs(at.timestamp() - moment) < 1e-5
    assert abs((unix_time(json.loads(json.dumps(at, cls=RedBeatJSONEncoder))) or 0) - moment) < 1e-5
    assert unix_time(told) == pytest.approx(moment, abs=1e-5)
