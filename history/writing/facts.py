"""What is known of one task: values that every source makes, and that `merging` puts together."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

MAX_TYPE_CHARS = 200
MAX_MESSAGE_CHARS = 4 * 1024
MAX_TRACEBACK_CHARS = 16 * 1024
_MAX_LINE_CHARS = 1000
"""Of a line of a traceback that is too long."""
_MOST_READ_CHARS = 256 * 1024
"""Of a traceback: a worker of ours writes no more than 64 KiB."""
_SEQUENCE_BITS = 20


def order_of(cursor: str) -> int:
    """Return a cursor as a number that sorts as cursors do: `1764-0` before `1764-1`."""
    ms, _, sequence = cursor.partition("-")
    return (int(ms) << _SEQUENCE_BITS) + min(int(sequence or 0), (1 << _SEQUENCE_BITS) - 1)


def moment(cursor: str) -> datetime:
    """Return when a cursor was made."""
    return datetime.fromtimestamp(int(cursor.partition("-")[0]) / 1000, UTC)


@dataclass(slots=True, kw_only=True)
class Change:
    """One change of state."""

    cursor: str
    state: str
    attempt: int | None = None
    """How often it was tried before: Celery's `retries`."""
    worker: str | None = None
    extras: Mapping[str, Any] = field(default_factory=dict)
    """Small members of the timeline's entry: `progress`, `error`, `reason`."""

    def document(self) -> dict[str, Any]:
        """Return it as an entry of `changes`."""
        entry: dict[str, Any] = {
            "c": self.cursor,
            "state": self.state,
            "at": moment(self.cursor),
        }
        if self.attempt is not None:
            entry["attempt"] = self.attempt
        if self.worker is not None:
            entry["worker"] = self.worker
        return {**entry, **self.extras}


@dataclass(slots=True, kw_only=True)
class Error:
    """How a task failed, in no more words than are kept."""

    kind: str
    """To 200 characters."""
    message: str
    """To 4,096 characters."""
    traceback: str | None = None
    """The last 16,384 characters, of which no line has more than some 1,000."""

    def __post_init__(self) -> None:
        """Cut what others have written: before it is looked through, and wherever it came from."""
        self.kind = self.kind[:MAX_TYPE_CHARS]
        self.message = self.message[:MAX_MESSAGE_CHARS]
        if self.traceback is not None:
            self.traceback = _tail(self.traceback)


@dataclass(slots=True, kw_only=True)
class Request:
    """What a task was asked with."""

    args: str
    """Exact JSON of an array."""
    kwargs: str
    """Exact JSON of an object."""
    embed: str = ""
    """JSON of an object: `callbacks`, `errbacks`, `chain`; empty: nothing follows."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """How it was published: queue, exchange, routing key, priority, limits, headers."""


@dataclass(slots=True, kw_only=True)
class Facts:
    """What one source says of one task. What is None is not known."""

    task_id: str
    task: str | None = None
    tenant: str | None = None
    queue: str | None = None
    root: str | None = None
    parent: str | None = None
    group: str | None = None
    retried_from: str | None = None
    request_id: str | None = None
    accepted_at: datetime | None = None
    due_at: datetime | None = None
    started_at: datetime | None = None
    changes: list[Change] = field(default_factory=list)
    """In the order of their cursors."""
    error: Error | None = None
    """Of the last change."""
    request: Request | None = None
    too_large: bool = False
    """Whether its request was too large to be kept."""
    source: str = "penstock"


def _tail(traceback: str) -> str:
    """Return the end of a traceback: of a long message in it little, as the places say more."""
    if len(traceback) <= MAX_TRACEBACK_CHARS:
        return traceback
    lines = traceback[-_MOST_READ_CHARS:].split("\n")
    short = (one if len(one) <= _MAX_LINE_CHARS else f"{one[:_MAX_LINE_CHARS]} …" for one in lines)
    return "\n".join(short)[-MAX_TRACEBACK_CHARS:]
