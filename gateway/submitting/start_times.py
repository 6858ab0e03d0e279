"""When a task may start: countdown, eta and expires, resolved. Pure."""

import math
from datetime import UTC, datetime

import msgspec

from gateway.errors import Problem, invalid_request
from gateway.submitting.task_request import MAX_DELAY_S, Options


class Times(msgspec.Struct, frozen=True):
    """When a task may start; unix seconds."""

    delay_s: int = 0
    """Whole seconds for the broker to hold it, rounded up; 0: now."""
    eta: str | None = None
    """When it is due, ISO 8601."""
    expires: str | None = None
    """When it must no longer start, ISO 8601."""
    expiration_ms: int | None = None
    """The same for the broker, where it does not delay; milliseconds from now."""


AT_ONCE = Times()


def times(options: Options, now: float) -> Times:
    """Resolve countdown, eta and expires.

    Args:
        options: Of one submit.
        now: Unix seconds.

    Raises:
        Problem: `invalid-request` (queued: no).
    """
    if options.countdown is None and options.eta is None and options.expires is None:
        return AT_ONCE
    countdown = options.countdown or 0.0
    start = now + countdown
    if options.eta is not None:
        start = max(now, _time("$.options.eta", options.eta))
        if start - now > MAX_DELAY_S:
            raise _refuse("$.options.eta", "Is over a year away")
    delay_s = math.ceil(countdown or start - now)
    eta = _iso(start) if delay_s else None
    if options.expires is None:
        return Times(delay_s=delay_s, eta=eta)
    if isinstance(options.expires, str):
        end = _time("$.options.expires", options.expires)
    else:
        end = now + options.expires
    if not math.isfinite(end) or end > now + 10 * MAX_DELAY_S:
        raise _refuse("$.options.expires", "Is too far away")
    if end <= start or end <= now + delay_s:
        raise _refuse("$.options.expires", "Is not later than the start")
    return Times(
        delay_s=delay_s,
        eta=eta,
        expires=_iso(end),
        expiration_ms=None if delay_s else max(1, math.ceil((end - now) * 1000)),
    )


def _time(at: str, text: str) -> float:
    try:
        moment = datetime.fromisoformat(text.upper())  # `t` and `z` are RFC 3339, too
        if moment.tzinfo is None:
            raise _refuse(at, "Expected a time with its offset, as RFC 3339 writes it")
        return moment.timestamp()
    except (ValueError, OverflowError):
        raise _refuse(at, "Expected a time as RFC 3339 writes it") from None


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat()


def _refuse(at: str, detail: str) -> Problem:
    return invalid_request(at, detail, queued="no")
