"""Crontab expressions as Celery reads them, and the next run where clocks are changed.

All five fields must match; unlike cron's, day of month and day of week are not alternatives. What
Celery takes by accident (month names as hours, signs, digits of other scripts) is refused.

Where the clocks of the zone change, Vixie cron's rule holds:

- A *wildcard* crontab (`*` or `*/n` in minute or hour, or every value of one) runs whenever the
  clock shows a matching time: each real quarter of an hour, also in an hour that comes twice.
- Any other has *fixed times*: one in an hour that comes twice runs the first time; one that the
  clocks skip runs at the first instant after the jump, together with all others that were skipped.

Sources: `celery.schedules.crontab_parser`; cron(8) of Vixie cron, "Daylight Saving Time and other
time changes".
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_WEEKDAYS: Final = {
    name: number for number, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))
}
_LONG_WEEKDAYS: Final = (
    "sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday",
)  # fmt: skip
_LONG_MONTHS: Final = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september",
    "october", "november", "december",
)  # fmt: skip
_NAMES: Final[Mapping[str, Mapping[str, int]]] = {
    "day_of_week": _WEEKDAYS | {name: number for number, name in enumerate(_LONG_WEEKDAYS)},
    "month_of_year": {name: number for number, name in enumerate(_LONG_MONTHS, 1)}
    | {name[:3]: number for number, name in enumerate(_LONG_MONTHS, 1)},
}
RANGES: Final[Mapping[str, tuple[int, int]]] = {
    "minute": (0, 59),
    "hour": (0, 23),
    "day_of_week": (0, 6),
    "day_of_month": (1, 31),
    "month_of_year": (1, 12),
}
"""Field → its lowest and highest number; Sunday is 0."""
_DAYS_IN_MONTH: Final = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_PART = re.compile(r"(?:(\*)|([0-9]{1,4}|[A-Za-z]+)(?:-([0-9]{1,4}|[A-Za-z]+))?)(?:/([0-9]{1,4}))?")
_HORIZON_YEARS: Final = 41
"""29 February on one weekday comes back after 28 years, or 40 around 2100."""
_HOST_ZONES: Final = ("localtime", "posixrules")
_OTHER_CLOCKS: Final = ("right/", "posix/")
_MINUTE: Final = timedelta(minutes=1)
_DAY: Final = timedelta(days=1)
_NEAR: Final = timedelta(days=2)
"""Clocks of one zone are never further apart than this, even where the date line moved."""


def time_zone(name: str) -> ZoneInfo:
    """Return a zone of the tz database.

    Args:
        name: `Europe/Berlin`. Names that mean another zone on another host (`localtime`), or that
            count leap seconds (`right/…`), are not taken.

    Raises:
        ValueError: This host knows no such zone.
    """
    try:
        if name not in _HOST_ZONES and not name.startswith(_OTHER_CLOCKS):
            return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        pass
    raise ValueError(f"{name!r} is not a time zone that this host knows")


@dataclass(frozen=True, slots=True, kw_only=True)
class Crontab:
    """Numbers that each field takes."""

    minute: frozenset[int]
    hour: frozenset[int]
    day_of_week: frozenset[int]
    day_of_month: frozenset[int]
    month_of_year: frozenset[int]
    zone: ZoneInfo
    wildcard: bool
    """Whether it runs by the clock; otherwise its times are fixed: see the module."""
    _minutes: tuple[int, ...] = field(init=False)
    _hours: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Sort what is searched."""
        object.__setattr__(self, "_minutes", tuple(sorted(self.minute)))
        object.__setattr__(self, "_hours", tuple(sorted(self.hour)))

    def next_after(self, moment: float) -> float | None:
        """Return the next run, unix seconds; None: there is none.

        Args:
            moment: Unix seconds; the run is later than this.
        """
        after = datetime.fromtimestamp(moment // 1, UTC)
        found = self._next_by_the_clock(after) if self.wildcard else self._next_fixed(after)
        return None if found is None else found.timestamp()

    def _next_by_the_clock(self, start: datetime) -> datetime | None:
        """Go through the stretches between two changes of the clocks, one after the other."""
        while True:
            offset = self._offset(start)
            wall = self._first_from(_wall(start + offset).replace(second=0) + _MINUTE)
            if wall is None:
                return None
            found = wall.replace(tzinfo=UTC) - offset
            change = self._first_change(start, min(found, start + _NEAR))
            if change is not None:  # the clock shows other times from there on
                if self._shows_match(change):
                    return change
                start = change
            elif found - start > _NEAR:  # nothing that matches is shown before, whatever changes
                start = max(start + _NEAR, found - _NEAR)
            else:
                return found

    def _shows_match(self, moment: datetime) -> bool:
        wall = _wall(moment + self._offset(moment))
        return wall.second == 0 and self._first_from(wall) == wall

    def _next_fixed(self, after: datetime) -> datetime | None:
        """Look at the matching times of the clock in their order; each has one run."""
        wall = self._first_from(_wall(after + self._offset(after)).replace(second=0))
        while wall is not None:
            found = self._run_of(wall)
            if found > after:
                return found
            wall = self._first_from(wall + _MINUTE)
        return None

    def _run_of(self, wall: datetime) -> datetime:
        """Return when the clock first shows a time, or the jump over it has been made."""
        aware = wall.replace(tzinfo=self.zone)
        first = aware.astimezone(UTC)
        if _wall(first + self._offset(first)) == wall:
            return first
        # Of a skipped time, fold 1 counts with the offset after the jump: it lies before (PEP 495).
        before = aware.replace(fold=1).astimezone(UTC)
        return self._first_change(before, first) or first

    def _first_change(self, start: datetime, end: datetime) -> datetime | None:
        """Return the first instant in (start, end] with another offset than at `start`."""
        offset = self._offset(start)
        while start < end:
            stop = min(start + _DAY / 8, end)
            if self._offset(stop) != offset:
                low, high = int(start.timestamp()), int(stop.timestamp())
                while high - low > 1:
                    middle = (low + high) // 2
                    same = self._offset(datetime.fromtimestamp(middle, UTC)) == offset
                    low, high = (middle, high) if same else (low, middle)
                return datetime.fromtimestamp(high, UTC)
            start = stop
        return None

    def _offset(self, moment: datetime) -> timedelta:
        return moment.astimezone(self.zone).utcoffset() or timedelta()

    def _first_from(self, wall: datetime) -> datetime | None:
        """Return the first matching time of a calendar without changes, from `wall` on."""
        day = wall.date()
        if self._takes(day):
            if wall.hour in self.hour:
                index = bisect_left(self._minutes, wall.minute)
                if index < len(self._minutes):
                    return wall.replace(minute=self._minutes[index])
            index = bisect_right(self._hours, wall.hour)
            if index < len(self._hours):
                return wall.replace(hour=self._hours[index], minute=self._minutes[0])
        first = time(self._hours[0], self._minutes[0])
        last_year = day.year + _HORIZON_YEARS
        while day.year <= last_year:
            day += _DAY
            while day.month not in self.month_of_year:
                day = (day.replace(day=1) + 31 * _DAY).replace(day=1)
            if self._takes(day):
                return datetime.combine(day, first)
        return None

    def _takes(self, day: date) -> bool:
        return (
            day.month in self.month_of_year
            and day.day in self.day_of_month
            and day.isoweekday() % 7 in self.day_of_week
        )


def parse_field(name: str, text: str) -> frozenset[int]:
    """Return the numbers of one field.

    Args:
        name: A key of `RANGES`.
        text: `*`, `*/5`, `1-5`, `mon-fri`, `10-2/3`, `1,15,30`, …

    Raises:
        ValueError: Its message is for the client.
    """
    low, high = RANGES[name]
    numbers: set[int] = set()
    for part in text.split(","):
        match = _PART.fullmatch(part)
        if match is None:
            raise ValueError(f"{part!r} is neither *, a number, a range nor one with a step")
        star, first, last, step = match.groups()
        if step is not None and (int(step) == 0 or (star is None and last is None)):
            raise ValueError(f"{part!r}: a step of 1 or more follows * or a range")
        if star:
            taken = list(range(low, high + 1))
        else:
            start = _number(name, first)
            end = start if last is None else _number(name, last)
            taken = list(range(start, end + 1))
            if end < start:
                taken = [*range(start, high + 1), *range(low, end + 1)]
        numbers.update(taken[:: int(step or 1)])
    return frozenset(numbers)


def parse_crontab(fields: Mapping[str, str], zone: ZoneInfo) -> Crontab:
    """Return the crontab of its fields.

    Args:
        fields: Every key of `RANGES`.
        zone: In which it counts.

    Raises:
        ValueError: A field cannot be read, or no such day ever comes.
    """
    return _crontab(tuple(fields.items()), zone)


@lru_cache(maxsize=1024)
def _crontab(items: tuple[tuple[str, str], ...], zone: ZoneInfo) -> Crontab:
    fields = dict(items)
    parsed = {name: parse_field(name, text) for name, text in fields.items()}
    months, days = parsed["month_of_year"], parsed["day_of_month"]
    if not any(day <= _DAYS_IN_MONTH[month - 1] for month in months for day in days):
        raise ValueError("None of the days occurs in any of the months")
    wildcard = any(
        "*" in fields[name] or len(parsed[name]) == RANGES[name][1] + 1
        for name in ("minute", "hour")
    )
    return Crontab(zone=zone, wildcard=wildcard, **parsed)


def _number(name: str, text: str) -> int:
    low, high = RANGES[name]
    if text.isascii() and text.isdigit():
        number = int(text)
    else:
        known = _NAMES.get(name, {}).get(text.lower())
        if known is None:
            raise ValueError(f"{text!r} is not a number from {low} to {high}")
        number = known
    if not low <= number <= high:
        raise ValueError(f"{number} is not from {low} to {high}")
    return number


def _wall(moment: datetime) -> datetime:
    return moment.replace(tzinfo=None)
