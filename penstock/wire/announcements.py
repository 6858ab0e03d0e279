r"""What workers announce in Redis: their tasks with signatures, and themselves with their queues.

    hash penstock:catalog   field <task>\n<hash of the schema>   JSON of the task, with `seen`
    hash penstock:workers   field <node name>\n<start>           JSON of a `WorkerRecord`
    string penstock:running:<node name>   JSON of what it runs: [[id, task, start, queue, limit], …]

Times are unix seconds.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, astuple, dataclass, fields, replace
from typing import Any

CATALOG_KEY = "penstock:catalog"
CATALOG_REFRESH_S = 10.0
"""How often a worker writes its tasks."""
CATALOG_MAX_AGE_S = 30.0
"""An entry that was not written for so long belongs to a worker that is gone."""

WORKERS_KEY = "penstock:workers"
WORKER_REFRESH_S = 3.0
"""How often a worker writes its record."""
WORKER_MAX_AGE_S = 12.0
"""A record that was not written for so long belongs to a worker that is gone."""
SILENT_AFTER_S = 15.0
"""A worker that has said nothing for so long, and took no leave, is silent."""
RUNNING_PREFIX = "penstock:running:"
RUNNING_KEPT_S = 600
"""How long the list of what a worker runs outlives it: as long as it is called silent."""
RUNNING_MOST = 1000
"""Tasks in such a list: those that have run for longest."""
KNOWN_FOR_S = 600.0
"""How long a task stays known after the last worker that has it was seen: a rolling deployment
stops workers before others have their tasks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotCounts:
    """How many tasks a worker can execute at a time, and what becomes of its slots."""

    slots: int = 0
    busy: int = 0
    """Slots with a task in them, lost ones included."""
    lost: int = 0
    """Slots whose task did not end within its hard limit; the worker replaces itself."""
    blocked: int = 0
    """How often a coroutine has held its event loop for too long, since it started."""
    processed: int = 0
    """Tasks that it has begun since it started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningTask:
    """What a slot of a worker executes."""

    task_id: str
    task: str
    start: float
    """When it began."""
    queue: str | None
    """Where its message came from, as far as the worker knows."""
    limit_s: float | None = None
    """Its hard time limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRecord:
    """One start of one worker."""

    worker: str
    """Its node name, `celery@host`."""
    start: str
    """Random, of this start: a release that replaces another under the same name adds a record."""
    queues: tuple[str, ...]
    """Work queues that it consumes, or consumed last."""
    tasks: tuple[str, ...]
    """Every task that it can run, Celery's own included."""
    seen: float
    """When it was written; earlier if its loops stand still: when they last went round."""
    consuming: bool = True
    """False while it is not connected to RabbitMQ, and once it stops."""
    counts: SlotCounts = SlotCounts()
    """Of its slots."""
    pool: str = ""
    """`asyncio`, `prefork`, `threads`, `solo` or the module of another; empty: not written."""
    software: str = ""
    """Names and versions of what it is made of."""
    left: bool = False
    """Whether it took leave: it stopped, and was not lost."""

    @property
    def field(self) -> str:
        """The field of the hash."""
        return f"{self.worker}\n{self.start}"

    def encode(self) -> str:
        """Return the value of the hash."""
        return json.dumps(asdict(self), separators=(",", ":"))

    def is_live(self, now: float) -> bool:
        """Tell whether it consumes its queues.

        Args:
            now: unix seconds.
        """
        return self.consuming and now - self.seen <= WORKER_MAX_AGE_S

    def at(
        self, now: float, queues: tuple[str, ...] | None, counts: SlotCounts | None = None
    ) -> "WorkerRecord":
        """Return it as it is now.

        Args:
            now: unix seconds.
            queues: what it consumes; None: nothing any more.
            counts: of its slots; None: as before.
        """
        counts = self.counts if counts is None else counts
        if queues is None:
            return replace(self, seen=now, consuming=False, counts=counts)
        return replace(self, seen=now, queues=queues, consuming=True, counts=counts)


def decode_worker(value: bytes | str) -> WorkerRecord:
    """Read the value of the hash; members that a later release adds are ignored.

    Raises:
        ValueError: it is no record.
    """
    try:
        found: Any = json.loads(value)
        return WorkerRecord(
            worker=str(found["worker"]),
            start=str(found["start"]),
            queues=tuple(map(str, found["queues"])),
            tasks=tuple(map(str, found["tasks"])),
            seen=float(found["seen"]),
            consuming=bool(found["consuming"]),
            counts=_counts(found.get("counts")),
            pool=str(found.get("pool", "")),
            software=str(found.get("software", "")),
            left=bool(found.get("left", False)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not the record of a worker: {error!r}") from error


def _counts(found: Any) -> SlotCounts:
    """Those of a release that does not write them are unknown: 0."""
    if not isinstance(found, dict):
        return SlotCounts()
    return SlotCounts(**{one.name: int(found.get(one.name, 0)) for one in fields(SlotCounts)})


def encode_running(tasks: Iterable[RunningTask]) -> str:
    """Return the value of the list of what a worker runs, those first that began first."""
    oldest = sorted(tasks, key=lambda one: one.start)[:RUNNING_MOST]
    return json.dumps([astuple(one) for one in oldest], separators=(",", ":"))


def decode_running(value: bytes | str) -> list[RunningTask]:
    """Read the list of what a worker runs.

    Raises:
        ValueError: it is no such list.
    """
    try:
        return [
            RunningTask(
                task_id=str(task_id),
                task=str(task),
                start=float(start),
                queue=None if queue is None else str(queue),
                limit_s=None if limit_s is None else float(limit_s),
            )
            for task_id, task, start, queue, limit_s in json.loads(value)
        ]
    except (TypeError, ValueError) as error:
        raise ValueError(f"not what a worker runs: {error!r}") from error
