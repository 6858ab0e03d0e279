"""Which of Celery's log lines are left out: one line for each batch of documents is enough."""

import logging

BATCH_TASK = "documents.store"

_RECEIVED = logging.getLogger("celery.worker.strategy")
"""Writes `Task documents.store[…] received`; the line of the end has the name, id and counts."""


class _BatchesReceived(logging.Filter):
    """Leaves the receipt of a batch to DEBUG; other tasks have both lines, as with Celery."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether the line is written."""
        about = record.args if isinstance(record.args, dict) else {}
        return about.get("name") != BATCH_TASK or _RECEIVED.isEnabledFor(logging.DEBUG)


_FILTER = _BatchesReceived()


def leave_out_receipts() -> None:
    """Have the receipt of batches written at DEBUG only."""
    _RECEIVED.addFilter(_FILTER)
