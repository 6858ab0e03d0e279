"""Which worker has which task and consumes which queue, as they announced it. Pure.

What they write is described in `penstock/wire/announcements.py`.
"""

import logging
from collections import Counter
from collections.abc import Mapping
from typing import Any

from penstock.wire.announcements import (
    KNOWN_FOR_S,
    WORKER_MAX_AGE_S,
    SlotCounts,
    WorkerRecord,
    decode_worker,
)

log = logging.getLogger(__name__)


class WorkerRecords:
    """The records that were read last."""

    def __init__(self) -> None:
        self._bad: set[str] = set()
        self._bytes: dict[Any, tuple[bytes | str, WorkerRecord]] = {}
        self.known: dict[str, frozenset[str]] = {}
        """Of each task that some worker had within ten minutes: the queues of these workers."""
        self.consumers: Mapping[str, int] = {}
        """How many live workers consume each queue."""
        self.slots: Mapping[str, SlotCounts] = {}
        """Of each worker that was heard of lately, by node name."""
        self.latest: Mapping[str, WorkerRecord] = {}
        """Of each node name, the record that was written last, however old."""

    def __repr__(self) -> str:
        """Return how many tasks and queues are known."""
        return f"<WorkerRecords {len(self.known)} tasks, {len(self.consumers)} queues>"

    def take(self, found: Mapping[Any, bytes | str], now: float) -> None:
        """Make these the records.

        Args:
            found: The Redis hash.
            now: Unix seconds.
        """
        queues_of: dict[str, set[str]] = {}
        consumers: Counter[str] = Counter()
        slots: dict[str, SlotCounts] = {}
        latest: dict[str, WorkerRecord] = {}
        for record in sorted(self._decoded(found), key=lambda one: one.seen):
            latest[record.worker] = record
            if now - record.seen > KNOWN_FOR_S:
                continue
            if now - record.seen <= WORKER_MAX_AGE_S:
                slots[record.worker] = record.counts
            if record.is_live(now):
                consumers.update(record.queues)
            for task in record.tasks:
                queues_of.setdefault(task, set()).update(record.queues)
        self.known = {task: frozenset(queues) for task, queues in queues_of.items()}
        self.consumers = consumers
        self.slots = slots
        self.latest = latest

    def _decoded(self, found: Mapping[Any, bytes | str]) -> list[WorkerRecord]:
        records = {}
        for field, value in found.items():
            before = self._bytes.get(field)
            if before is not None and before[0] == value:
                records[field] = before
                continue
            try:
                records[field] = value, decode_worker(value)
            except (ValueError, RecursionError) as error:
                name = field.decode("utf-8", "replace") if isinstance(field, bytes) else field
                if name not in self._bad:
                    self._bad.add(name)
                    log.warning("worker-record-bad", extra={"field": name, "reason": repr(error)})
        self._bytes = records
        return [record for _, record in records.values()]
