"""Crontab expressions as Celery reads them: checked, and the next time computed. Pure.

Source: `celery.schedules.crontab_parser`. All five fields must match; unlike cron's, day of month
and day of week are not alternatives. What Celery takes by accident (month names as hours, signs,
digits of other scripts) is refused.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

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
_HORIZON_DAYS: Final = 366 * 41
"""29 February on one weekday comes back after 28 years, or 40 around 2100."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crontab:
    """Numbers that each field takes."""

    minute: frozenset[int]
    hour: frozenset[int]
    day_of_week: frozenset[int]
    day_of_month: frozenset[int]
    month_of_year: frozenset[int]
    zone: ZoneInfo

    def next_after(self, moment: float) -> float | None:
        """The next time that matches, unix seconds; None: never.

        Args:
            moment: Unix seconds.
        """
        after = datetime.fromtimestamp(moment, UTC)
        day = after.astimezone(self.zone).date()
        for _ in range(_HORIZON_DAYS):
            if self._takes(day):
                times = (t for t in self._times(day) if t > after)
                if (found := min(times, default=None)) is not None:
                    return found.timestamp()
            day += timedelta(days=1)
        return None

    def _takes(self, day: date) -> bool:
        return (
            day.month in self.month_of_year
            and day.day in self.day_of_month
            and day.isoweekday() % 7 in self.day_of_week
        )

    def _times(self, day: date) -> list[datetime]:
        """All matching times of a local day in UTC.

        A time that the clocks skip comes as much later; one in an hour that comes twice, twice.
        """
        found = []
        for hour in self.hour:
            for minute in self.minute:
                local = datetime(day.year, day.month, day.day, hour, minute, tzinfo=self.zone)
                first, second = (local.replace(fold=fold).astimezone(UTC) for fold in (0, 1))
                found += [first, second] if second > first else [first]
        return found


def parse_field(name: str, text: str) -> frozenset[int]:
    """The numbers of one field.

    Args:
        name: A key of `RANGES`.
        text: `*`, `*/5`, `1-5`, `mon-fri`, `10-2/3`, `1,15,30`, …

    Raises:
        ValueError: Told to the client.
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
    """A crontab of fields that were parsed before.

    Args:
        fields: Every key of `RANGES`.
        zone: In which it counts.

    Raises:
        ValueError: No such day ever comes.
    """
    parsed = {name: parse_field(name, text) for name, text in fields.items()}
    months, days = parsed["month_of_year"], parsed["day_of_month"]
    if not any(day <= _DAYS_IN_MONTH[month - 1] for month in months for day in days):
        raise ValueError("None of the days occurs in any of the months")
    return Crontab(zone=zone, **parsed)


def _number(name: str, text: str) -> int:
    low, high = RANGES[name]
    if text.isdigit():
        number = int(text)
    else:
        known = _NAMES.get(name, {}).get(text.lower())
        if known is None:
            raise ValueError(f"{text!r} is not a number from {low} to {high}")
        number = known
    if not low <= number <= high:
        raise ValueError(f"{number} is not from {low} to {high}")
    return number
