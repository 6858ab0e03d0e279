"""Schedules and times as RedBeat writes them, read and written. Pure.

Source: `redbeat.decoder`.
"""

import math
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo


def client_schedule(schedule: Any) -> dict[str, Any]:
    """Return a schedule as the client writes it: `every`, `crontab` or `solar`.

    Args:
        schedule: As RedBeat keeps it; one of another kind stays as it is.
    """
    if isinstance(schedule, dict):
        fields = {name: value for name, value in schedule.items() if name != "__type__"}
        match schedule.get("__type__"):
            case "interval":
                return {"every": schedule.get("every")}
            case "crontab":
                return {"crontab": {"timezone": "UTC", **fields}}
            case "solar":
                return {"solar": fields}
    return {"schedule": schedule}


def redbeat_time(moment: float) -> dict[str, Any]:
    """Return a time as RedBeat's encoder writes it.

    Args:
        moment: Unix seconds.
    """
    at = datetime.fromtimestamp(moment, UTC)
    return {
        "__type__": "datetime",
        "year": at.year,
        "month": at.month,
        "day": at.day,
        "hour": at.hour,
        "minute": at.minute,
        "second": at.second,
        "microsecond": at.microsecond,
        "timezone": "UTC",
    }


def unix_time(value: Any) -> float | None:
    """Return a time that RedBeat wrote, unix seconds; None when it is none.

    Args:
        value: Decoded JSON.
    """
    if not isinstance(value, dict):
        return None
    zone = value.get("timezone", "UTC")
    try:
        parts = [int(value[name]) for name in ("year", "month", "day", "hour", "minute", "second")]
        # A number is an offset in seconds, a text a zone's name: `RedBeatJSONDecoder`.
        offset = float(zone) if isinstance(zone, int | float) else 0.0
        tzinfo = UTC if isinstance(zone, int | float) else ZoneInfo(zone)
        at = datetime(*parts, int(value.get("microsecond", 0)), tzinfo=tzinfo)  # type: ignore[misc, arg-type]
    except (KeyError, TypeError, ValueError, OSError):
        return None
    moment = at.timestamp() - offset
    return moment if math.isfinite(moment) else None
