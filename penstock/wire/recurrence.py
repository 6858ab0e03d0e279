"""When a periodic task runs next: the one calendar of beat and the gateway. Pure.

A recurrence is what RedBeat keeps as `schedule` of an entry: `interval`, or `crontab` with a time
zone and `solar`, which only our beat knows. RedBeat's `rrule` and other libraries' schedules are
not in this calendar; beat leaves them to their own code.

    counted from ──next_run──► due ──beat publishes──► the run's time ──next_run──► due …

A run is counted from the time of the last one. While no beat is running nothing is published;
afterwards each overdue schedule runs once, however many of its times have passed, and then counts
from that run.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from penstock.wire import sun
from penstock.wire.crontab import RANGES, Crontab, parse_crontab, time_zone

KINDS = frozenset({"interval", "crontab", "solar"})
"""Values of `__type__` that this calendar knows."""

_RESOLUTIONS_S = (86_400, 3600, 60)


def next_run(stored: Mapping[str, Any], counted_from: float) -> float | None:
    """Return when a schedule is due, unix seconds; None: never again.

    Args:
        stored: The recurrence, with its `__type__`, one of `KINDS`.
        counted_from: Its last run, or when it was made or changed; unix seconds. The result is
            later.

    Raises:
        ValueError: It cannot be read, or names a time zone that this host does not know.
    """
    try:
        match stored.get("__type__"):
            case "interval":
                return _after(counted_from, float(stored["every"]), stored.get("relative"))
            case "crontab":
                return crontab_of(stored).next_after(counted_from)
            case "solar":
                place = float(stored["latitude"]), float(stored["longitude"])
                return sun.next_event(str(stored["event"]), *place, counted_from)
    except (ArithmeticError, KeyError, TypeError, OSError) as error:
        raise ValueError(f"not a schedule: {error!r}") from error
    raise ValueError(f"{stored.get('__type__')!r} is none of {', '.join(sorted(KINDS))}")


def crontab_of(stored: Mapping[str, Any]) -> Crontab:
    """Return the crontab of a recurrence; without `timezone` it counts in UTC.

    Raises:
        ValueError: It cannot be read, or names a time zone that this host does not know.
    """
    fields = {name: _text(stored.get(name, "*")) for name in RANGES}
    return parse_crontab(fields, time_zone(str(stored.get("timezone", "UTC"))))


def _text(value: object) -> str:
    """Return a field as text; Celery's Python programs also write numbers and lists of them."""
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _after(counted_from: float, every_s: float, relative: object) -> float:
    """Return the end of an interval; a relative one ends on a whole day, hour or minute of UTC.

    Source: `celery.utils.time.remaining` and `delta_resolution`.
    """
    if not every_s > 0:
        raise ValueError(f"an interval of {every_s} s")
    end = counted_from + every_s
    if relative:
        step = next((step for step in _RESOLUTIONS_S if every_s >= step), 1)
        end -= end % step
    datetime.fromtimestamp(end, UTC)  # no later than a calendar goes
    return end
