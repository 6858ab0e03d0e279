"""What a worker tells of each task, at little cost: events for Flower, lines of the log.

Celery publishes its events on each turn of its loop, and looks for the caller of each line. Here
the events of a short while are one message, as Celery's format `task.multi` has it, and a line is a
record that is handed to the same handlers.
"""

import logging
from typing import Any

EVENTS_WAIT_S = 0.05
"""How long an event may wait for others."""
EVENTS_AT_ONCE = 500
"""So many do not wait."""


class Events:
    """Lets the events of a dispatcher of Celery's wait for each other; on the consumer's thread.

    Args:
        dispatcher: Celery's, of one connection.
        timer: of the consumer.
    """

    def __init__(self, dispatcher: Any, timer: Any) -> None:
        self._dispatcher = dispatcher
        self._timer = timer
        self._due = False
        dispatcher.buffer_limit = EVENTS_AT_ONCE
        dispatcher.on_send_buffered = self._sent

    def _sent(self) -> None:
        if not self._due:
            self._due = True
            self._timer.call_after(EVENTS_WAIT_S, self._flush)

    def _flush(self) -> None:
        self._due = False
        self._dispatcher.flush()


def line(logger: logging.Logger, form: str, fields: dict[str, Any]) -> None:
    """Write a line at INFO, as Celery does of a task.

    Args:
        logger: that is enabled for INFO.
        form: with the names of the fields.
        fields: also what the record has as `data`.
    """
    record = logger.makeRecord(
        logger.name, logging.INFO, __file__, 0, form, (fields,), None, extra={"data": fields}
    )
    logger.handle(record)
