"""Entries that could not be published: when each is tried again, and what the log has of it."""

import logging
from collections.abc import Iterator
from functools import partial
from typing import Any

from amqp.exceptions import AccessRefused, MessageNacked, NotFound
from celery.exceptions import QueueNotFound

from penstock.looper import Faults, plain_line
from penstock.worker.beat.schedule_entries import PeriodicEntry
from penstock.worker.errors import UnroutableError

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0
"""Between two tries of one entry: it doubles from the first to the longest."""

_MOST = 10_000
"""Entries that are remembered; one that is forgotten begins with the first wait again."""

_REASONS: tuple[tuple[type[BaseException], str], ...] = (
    (UnroutableError, "no queue takes it"),
    (QueueNotFound, "beat's layout has no such queue"),
    (NotFound, "RabbitMQ has no such exchange"),
    (AccessRefused, "RabbitMQ does not let beat publish there"),
    (MessageNacked, "RabbitMQ refuses it: its queue may be full"),
)

_logger = logging.getLogger("celery.beat")


class Unpublished:
    """Entries whose last publish failed. Each cause of one is logged every ten minutes at most."""

    def __init__(self) -> None:
        self._entries: dict[str, tuple[Faults, int]] = {}

    def failed(self, entry: PeriodicEntry, error: BaseException, *, tried: bool) -> float:
        """Note a failure, and log it unless it was logged lately.

        Args:
            entry: what was not published.
            error: why.
            tried: whether there was a connection to try it on.

        Returns:
            Seconds until it should be tried again; 0 where it was not tried.
        """
        fresh = Faults(entry.key, expected=(Exception,), tell=partial(_say, entry.name)), 0
        faults, failures = self._entries.pop(entry.key, fresh)
        self._entries[entry.key] = faults, failures + tried
        if len(self._entries) > _MOST:
            del self._entries[next(iter(self._entries))]
        faults.failed(error)
        return float(tried * min(FIRST_WAIT_S * 2 ** min(failures, 16), LONGEST_WAIT_S))

    def published(self, entry: PeriodicEntry) -> None:
        """Note that an entry was published."""
        faults, _ = self._entries.pop(entry.key, (None, 0))
        if faults is not None:
            faults.well()


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what it was raised for: Celery and kombu wrap those of a connection."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def reason(error: BaseException) -> str:
    """Return why an entry could not be published, for its owner: in our words, without secrets."""
    errors = list(chain(error))
    for kind, words in _REASONS:
        if any(isinstance(one, kind) for one in errors):
            return words
    return "beat's log says why"


def _say(
    name: str,
    _: logging.Logger,
    level: int,
    event: str,
    fields: dict[str, Any],
    error: BaseException | None,
) -> None:
    what = "not published, trying again" if event == "loop-failed" else "published again"
    shown = {field: value for field, value in fields.items() if field != "loop"}
    plain_line(_logger, level, f"beat: {name} {what}", shown, error)
