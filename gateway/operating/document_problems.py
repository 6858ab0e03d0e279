"""Documents that wait for MongoDB, or that it refused, found in what workers report. Pure."""

from collections.abc import Iterable, Iterator
from typing import Final

from gateway.operating.problems import Finding
from penstock.wire.document_troubles import (
    REFUSED_FOR_S,
    SEEN_WITHIN_S,
    Refused,
    Troubles,
    Waits,
)

WAITING_AFTER_S: Final = 15.0
"""A restart of MongoDB is over sooner."""
_MOST_NAMES: Final = 5


def of_documents(troubles: Iterable[Troubles], now: float) -> Iterator[Finding]:
    """Find documents that were accepted and are not stored.

    Args:
        troubles: What each process reports.
        now: Unix seconds.
    """
    reports = list(troubles)
    yield from _waiting([one for one in reports if now - one.seen <= SEEN_WITHIN_S], now)
    yield from _refused(reports, now)


def _waiting(reports: list[Troubles], now: float) -> Iterator[Finding]:
    stored: dict[str, float] = {}
    for one in reports:
        for name, at in one.stored.items():
            stored[name] = max(at, stored.get(name, at))
    found: dict[str, list[Waits]] = {}
    for one in reports:
        for name, waits in one.waits.items():
            over = not waits.lasting and stored.get(name, 0.0) > waits.last
            if not over and now <= waits.over_at:
                found.setdefault(name, []).append(waits)
    for name in list(found):
        if _span_s(found[name]) < WAITING_AFTER_S:
            del found[name]
    if not found:
        return
    every = [waits for of_one in found.values() for waits in of_one]
    since, latest = min(one.since for one in every), max(every, key=lambda one: one.last)
    names = ", ".join(sorted(found)[:_MOST_NAMES])
    more = f" and {len(found) - _MOST_NAMES} more" if len(found) > _MOST_NAMES else ""
    yield Finding(
        code="documents-waiting",
        subject="mongodb",
        detail=f"documents for {names}{more} have waited for {now - since:.0f} s; "
        f"{now - latest.last:.0f} s ago a worker was told: {latest.words} (batch {latest.batch})",
        advice="mend what its words name: MongoDB, its majority, the user's rights, or a document "
        "that it does not take; nothing is lost, and documents are tried again by themselves",
    )


def _span_s(waits: list[Waits]) -> float:
    """Return for how long batches of one collection have been refused, again and again."""
    return max(one.last for one in waits) - min(one.since for one in waits)


def _refused(reports: list[Troubles], now: float) -> Iterator[Finding]:
    found: dict[str, list[Refused]] = {}
    for one in reports:
        for name, refused in one.refused.items():
            if now - refused.last <= REFUSED_FOR_S:
                found.setdefault(name, []).append(refused)
    for name, every in found.items():
        latest = max(every, key=lambda one: one.last)
        yield Finding(
            code="documents-refused",
            subject=name,
            detail="documents that were accepted and cannot be stored: "
            f"{sum(one.documents for one in every):,}, the last {now - latest.last:.0f} s ago: "
            f"{latest.reason} (batch {latest.batch})",
            advice="read which, and why: `failed` in the result of GET /v1/tasks/{batch}; then "
            "mend their sender, or the validator or index that refuses them",
        )
