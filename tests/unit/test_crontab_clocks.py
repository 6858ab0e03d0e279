"""Where clocks change, against an oracle that looks at a clock each minute, as Vixie cron does."""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.wire.crontab import RANGES, Crontab, parse_crontab, time_zone

ROOT = Path(__file__).parent.parent.parent
START, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2031, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
LONGEST_FOLD_MINUTES = 180
"""By how much a clock goes back at once in these years, at most: two hours, in Troll."""
Change = tuple[str, datetime]


def oracle(crontab: Crontab, start: datetime, minutes: int) -> list[float]:
    """All runs within (start, start + minutes].

    A wildcard crontab runs in each minute whose clock matches. Of fixed times, each that the clock
    has passed for the first time runs, in one run for all that it passed at once.
    """
    runs = []
    shown = None  # the latest time that the clock has shown
    for minute in range(-LONGEST_FOLD_MINUTES, minutes + 1):
        moment = start + minute * MINUTE
        wall = moment.astimezone(crontab.zone).replace(tzinfo=None)
        passed = [wall]
        if not crontab.wildcard and shown is not None:
            passed = [shown + n * MINUTE for n in range(1, (wall - shown) // MINUTE + 1)]
        shown = wall if shown is None else max(wall, shown)
        if minute > 0 and any(matches(crontab, each) for each in passed):
            runs.append(moment.timestamp())
    return runs


def matches(crontab: Crontab, wall: datetime) -> bool:
    return (
        wall.minute in crontab.minute
        and wall.hour in crontab.hour
        and wall.month in crontab.month_of_year
        and wall.day in crontab.day_of_month
        and wall.isoweekday() % 7 in crontab.day_of_week
    )


def runs(crontab: Crontab, start: datetime, minutes: int) -> list[float]:
    found, end = [], (start + minutes * MINUTE).timestamp()
    moment = crontab.next_after(start.timestamp())
    while moment is not None and moment <= end:
        found.append(moment)
        moment = crontab.next_after(moment)
    return found


@cache
def changes() -> tuple[Change, ...]:
    """Every change of a clock of 2026 to 2030; of zones with the same changes, one."""
    found: dict[tuple[tuple[datetime, timedelta, timedelta], ...], str] = {}
    for name in sorted(available_timezones()):
        try:
            zone = time_zone(name)
        except ValueError:
            assert name == "localtime"
            continue
        found.setdefault(tuple(changes_of(zone)), name)
    return tuple((name, at) for all_of_one, name in found.items() for at, _, _ in all_of_one)


def changes_of(zone: ZoneInfo) -> Iterator[tuple[datetime, timedelta, timedelta]]:
    def offset(moment: datetime) -> timedelta:
        return moment.astimezone(zone).utcoffset() or timedelta()

    day, before = START, offset(START)
    while day < END:
        day += timedelta(days=1)
        after = offset(day)
        if after != before:
            low, high = day - timedelta(days=1), day
            while high - low > MINUTE:
                middle = low + (high - low) // (2 * MINUTE) * MINUTE
                low, high = (middle, high) if offset(middle) == before else (low, middle)
            yield high, before, after
        before = after


def crontab(zone: str, **fields: str) -> Crontab:
    return parse_crontab(dict.fromkeys(RANGES, "*") | fields, time_zone(zone))


NIGHT = [
    {"minute": "*/15"},
    {"minute": "30", "hour": "*"},
    {"minute": "*/20", "hour": "*/2"},
    {"minute": "0,10,20,30,40,50", "hour": "0-23"},
    {"minute": "15,45", "hour": "0-5"},
    {"minute": "0", "hour": "1,2,3,23"},
    {"minute": "*", "hour": "0-3"},
    {"minute": "30", "hour": "0-4,22-23", "day_of_week": "sun,sat"},
]


def test_every_change_of_every_zone_of_the_coming_years():
    assert len(changes()) > 250
    for zone, at in changes():
        start = at - 6 * 60 * MINUTE
        for fields in NIGHT:
            one = crontab(zone, **fields)
            assert runs(one, start, 720) == oracle_near(one, start, 720), (zone, at, fields)


def oracle_near(crontab: Crontab, start: datetime, minutes: int) -> list[float]:
    """The same without the two days before, in which nothing changes."""
    runs, shown = [], start.astimezone(crontab.zone).replace(tzinfo=None)
    for wall, moment in walls(crontab.zone.key, start, minutes):
        if crontab.wildcard:
            fires = matches(crontab, wall)
        else:
            fires = any(
                matches(crontab, shown + n * MINUTE) for n in range(1, (wall - shown) // MINUTE + 1)
            )
            shown = max(wall, shown)
        if fires:
            runs.append(moment)
    return runs


@cache
def walls(zone: str, start: datetime, minutes: int) -> tuple[tuple[datetime, float], ...]:
    moments = [start + minute * MINUTE for minute in range(1, minutes + 1)]
    return tuple(
        (moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None), moment.timestamp())
        for moment in moments
    )


def field(name: str, wild: float) -> st.SearchStrategy[str]:
    low, high = RANGES[name]
    number = st.integers(low, high).map(str)
    part = st.one_of(
        number,
        st.integers(1, 20).map(lambda step: f"*/{step}"),
        st.tuples(number, number).map("-".join),
        st.tuples(number, number, st.integers(1, 5).map(str)).map(
            lambda t: f"{t[0]}-{t[1]}/{t[2]}"
        ),
    )
    chosen = st.lists(part, min_size=1, max_size=3).map(",".join)
    return st.floats(0, 1).flatmap(lambda x: st.just("*") if x < wild else chosen)


CRONTABS = st.fixed_dictionaries(
    {
        "minute": field("minute", 0.2),
        "hour": field("hour", 0.3),
        "day_of_week": field("day_of_week", 0.7),
        "day_of_month": field("day_of_month", 0.8),
        "month_of_year": field("month_of_year", 0.9),
    }
)


@given(CRONTABS, st.integers(0, 10**6), st.integers(-600, 60))
def test_any_crontab_around_any_change(fields: dict[str, str], number: int, early: int):
    zone, at = changes()[number % len(changes())]
    try:
        one = parse_crontab(fields, time_zone(zone))
    except ValueError:
        return  # no such day
    start = at + early * MINUTE

    assert runs(one, start, 700) == oracle(one, start, 700)


@given(CRONTABS, st.integers(0, 10**6), st.floats(0, 1), st.floats(0, 1))
def test_nothing_runs_between_a_time_and_the_next_run(
    fields: dict[str, str], number: int, when: float, between: float
):
    zone, _ = changes()[number % len(changes())]
    try:
        one = parse_crontab(fields, time_zone(zone))
    except ValueError:
        return
    start = START + when * (END - START)
    found = one.next_after(start.timestamp())
    if found is None:
        return
    assert found > start.timestamp()
    other = start.timestamp() + between * (found - start.timestamp())
    assert other >= found or one.next_after(other) == found
    minutes = int((found - other) // 60)
    day = datetime.fromtimestamp(other // 60 * 60, UTC)
    assert oracle(one, day, min(minutes, 240)) in ([], [found])


@pytest.mark.parametrize(
    ("zone", "fields", "start", "expected"),
    [
        # Berlin, autumn: 02:00–02:59 comes twice, at 00 and 01 UTC
        ("Europe/Berlin", {"minute": "*/15"}, "2026-10-25T00:45", "2026-10-25T01:00"),
        ("Europe/Berlin", {"minute": "30", "hour": "2"}, "2026-10-24T12:00", "2026-10-25T00:30"),
        ("Europe/Berlin", {"minute": "30", "hour": "2"}, "2026-10-25T00:30", "2026-10-26T01:30"),
        ("Europe/Berlin", {"minute": "*/30", "hour": "2"}, "2026-10-25T00:30", "2026-10-25T01:00"),
        # spring: 02:00–02:59 is skipped at 01 UTC
        ("Europe/Berlin", {"minute": "30", "hour": "2"}, "2026-03-28T12:00", "2026-03-29T01:00"),
        ("Europe/Berlin", {"minute": "0,30", "hour": "2"}, "2026-03-29T01:00", "2026-03-30T00:00"),
        ("Europe/Berlin", {"minute": "*/30", "hour": "2"}, "2026-03-28T12:00", "2026-03-30T00:00"),
        ("America/New_York", {"minute": "30", "hour": "1"}, "2026-11-01T05:30", "2026-11-02T06:30"),
        # Lord Howe's clocks change by 30 minutes: 02:00–02:29 is skipped, 01:30–01:59 comes twice
        (
            "Australia/Lord_Howe", {"minute": "10", "hour": "2"},
            "2026-10-03T00:00", "2026-10-03T15:30",
        ),
        (
            "Australia/Lord_Howe", {"minute": "45", "hour": "1"},
            "2026-04-04T14:45", "2026-04-05T15:15",
        ),
        # Troll's by two hours
        ("Antarctica/Troll", {"minute": "30", "hour": "1"}, "2026-03-28T12:00", "2026-03-29T01:00"),
        # midnight: the day in Santiago begins at 01:00 and its eve ends twice
        ("America/Santiago", {"minute": "0", "hour": "0"}, "2026-09-05T12:00", "2026-09-06T04:00"),
        (
            "America/Santiago", {"minute": "30", "hour": "23"},
            "2026-04-05T02:30", "2026-04-06T03:30",
        ),
        # Samoa had no 30 December 2011
        ("Pacific/Apia", {"minute": "0", "hour": "12"}, "2011-12-30T05:00", "2011-12-30T10:00"),
        ("Pacific/Apia", {"minute": "0", "hour": "*/6"}, "2011-12-30T05:00", "2011-12-30T10:00"),
        # leap days and the ends of months
        ("UTC", {"minute": "0", "hour": "0", "day_of_month": "29", "month_of_year": "feb"},
         "2026-01-01T00:00", "2028-02-29T00:00"),
        ("UTC", {"minute": "0", "hour": "0", "day_of_month": "31"},
         "2026-03-31T00:00", "2026-05-31T00:00"),
        # both day fields must match, as with Celery; cron would take either
        ("UTC", {"minute": "0", "hour": "0", "day_of_month": "13", "day_of_week": "fri"},
         "2026-01-01T00:00", "2026-02-13T00:00"),
    ],
)  # fmt: skip
def test_known_nights(zone: str, fields: dict[str, str], start: str, expected: str):
    def unix(text: str) -> float:
        return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()

    assert crontab(zone, **fields).next_after(unix(start)) == unix(expected)


def test_a_zone_that_only_one_host_knows_is_none():
    for name in ("localtime", "right/UTC", "posix/UTC", "Mars/Olympus", "", "..", "Europe", "\0"):
        with pytest.raises(ValueError, match="not a time zone"):
            time_zone(name)


def test_zones_are_known_where_the_system_has_none():
    code = "from penstock.wire.crontab import time_zone; print(time_zone('Europe/Berlin'))"
    env = {**os.environ, "PYTHONTZPATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True
    )

    assert done.stdout == "Europe/Berlin\n"
