"""What the results of a tenant take in Redis, counted by the workers and read by the gateways.

    hash penstock:kept:results:<tenant>   when they are gone, unix seconds → octets that go then

A field is counted up by the script that stores a final state. It stands for a part of the time for
which results are kept, so that there are few, and is of no account once its time is over.

An ended task takes its record, the stream of its events where there is one, and the mark that it
ended, which outlives them. One task in sixteen is charged for the marks of all: those whose id ends
with `0`.
"""

from typing import Final

from penstock.wire.keys import DAY_S, ENDED_EXTRA_S

LONGEST_S: Final = 366 * DAY_S
"""For how long results are kept of an application that keeps them for ever, seconds."""
BESIDES: Final = 290
"""Octets that a record takes besides its text: its key, its expiry, its places in Redis' tables.
These are measured with Redis 7.0, as `used_memory` of 100,000 tasks."""
ENDED_MARK: Final = 206
"""Octets of the mark that a task ended, everything included."""
MARKS: Final = 16 * ENDED_MARK
"""What one task in sixteen is charged for marks."""
_PARTS: Final = 24


def usage_key(tenant: str) -> str:
    """Return where it is counted what the results of a tenant take."""
    return f"penstock:kept:results:{tenant}"


def kept_s(result_expires: float | None) -> int:
    """Return for how long the results of an application are kept: whole seconds, at least one.

    Args:
        result_expires: Celery's setting, seconds; None, 0 or less: they never expire.
    """
    if result_expires is None or result_expires <= 0:
        return LONGEST_S
    return max(1, int(result_expires))


def gone_by(now: float, keep_s: int) -> int:
    """Return when a result that is stored now is gone, rounded up by 1/24 of its time at most.

    Args:
        now: Unix seconds.
        keep_s: How long it is kept, seconds.
    """
    part_s = max(1, keep_s // _PARTS)
    return -(-(int(now) + 1 + keep_s) // part_s) * part_s


def charge_to(tenant: str | None, now: float, keep_s: int) -> tuple[list[str], list[str | int]]:
    """Return the keys and arguments by which a script charges an end to its tenant: last of all.

    Args:
        tenant: None or empty: nobody is charged.
        now: Unix seconds.
        keep_s: How long the record is kept, seconds.
    """
    if not tenant:
        return [], []
    return [usage_key(tenant)], [gone_by(now, keep_s), gone_by(now, keep_s + ENDED_EXTRA_S)]


def room_in_s(kept: dict[int, int], quota: int, now: float) -> int:
    """Return the seconds until what is kept is within a quota; 0: it is.

    Args:
        kept: Octets by the time at which they are gone.
        quota: Octets.
        now: Unix seconds.
    """
    total = sum(size for gone, size in kept.items() if gone > now)
    for gone in sorted(gone for gone in kept if gone > now):
        if total <= quota:
            break
        total -= kept[gone]
        if total <= quota:
            return max(1, int(gone - now) + 1)
    return 0
