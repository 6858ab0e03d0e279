"""The workers that there are, as they announce themselves or as Celery's events show them. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from penstock.wire.announcements import KNOWN_FOR_S, SILENT_AFTER_S, WorkerRecord

Status = Literal["online", "silent", "gone"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """One worker, by its node name; None is what is not known of it."""

    name: str
    status: Status
    last_heard_at: float
    """Unix seconds."""
    pool: str | None = None
    concurrency: int | None = None
    """Tasks that it executes at a time."""
    running: int | None = None
    """Tasks that it executes."""
    queues: tuple[str, ...] | None = None
    """Work queues that it consumes, or consumed last."""
    processed: int | None = None
    """Tasks that it has begun since it started."""
    software: str | None = None
    announces: bool
    """Whether it has this project's library, and announces itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StockWorker:
    """What Celery's own events and remote control show of a worker without this library."""

    name: str
    heard_at: float
    """Unix seconds."""
    left: bool = False
    running: int | None = None
    processed: int | None = None
    software: str | None = None
    pool: str | None = None
    concurrency: int | None = None
    queues: tuple[str, ...] | None = None


def workers(
    records: Mapping[str, WorkerRecord], stock: Iterable[StockWorker], now: float
) -> list[Worker]:
    """Return every worker, by name; what announces itself counts before what events show.

    Args:
        records: The latest record of each node name.
        stock: Workers that Celery's events have shown.
        now: Unix seconds.
    """
    found = {one.name: _of_stock(one, now) for one in stock}
    found |= {name: _of_record(record, now) for name, record in records.items()}
    return [found[name] for name in sorted(found)]


def _status(heard_at: float, now: float, *, left: bool) -> Status:
    """Tell how it is: silence that lasts is taken for an end."""
    silent_s = now - heard_at
    if left or silent_s > KNOWN_FOR_S:
        return "gone"
    return "silent" if silent_s > SILENT_AFTER_S else "online"


def _of_record(record: WorkerRecord, now: float) -> Worker:
    status = _status(record.seen, now, left=record.left)
    counts = record.counts
    return Worker(
        name=record.worker,
        status=status,
        last_heard_at=record.seen,
        pool=record.pool or None,
        concurrency=counts.slots,
        running=0 if status == "gone" else counts.busy,
        queues=record.queues,
        processed=counts.processed,
        software=record.software or None,
        announces=True,
    )


def _of_stock(one: StockWorker, now: float) -> Worker:
    status = _status(one.heard_at, now, left=one.left)
    return Worker(
        name=one.name,
        status=status,
        last_heard_at=one.heard_at,
        pool=one.pool,
        concurrency=one.concurrency,
        running=0 if status == "gone" else one.running,
        queues=one.queues,
        processed=one.processed,
        software=one.software,
        announces=False,
    )
