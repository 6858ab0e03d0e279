"""What a worker tells of each task, at little cost: events for Flower, lines of the log.

Celery sends an event on each turn of its loop, and flushes each line. Here the events of a short
while are one message, as Celery's own `task.multi`, and the lines of a turn are one write.
"""

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import orjson
from celery.utils.time import utcoffset

EVENTS_WAIT_S = 0.05
"""How long an event may wait for others."""
EVENTS_AT_ONCE = 500
"""So many do not wait."""

_logger = logging.getLogger(__name__)


class TaskEvents:
    """TaskEvents of tasks; those that Celery's own code sends wait, too.

    Args:
        dispatcher: Celery's, of one connection.
        timer: of the consumer.
        post: hands a call to the consumer's thread; helpers send events, too.
    """

    def __init__(
        self, dispatcher: Any, timer: Any, post: Callable[[Callable[[], Any]], None]
    ) -> None:
        self._dispatcher = dispatcher
        self._timer = timer
        self._post = post
        self._due = False
        self._waiting: list[dict[str, Any]] = []
        self._fixed = {"hostname": dispatcher.hostname, "pid": os.getpid()}
        self._forward = dispatcher.clock.forward
        dispatcher.buffer_limit = EVENTS_AT_ONCE
        dispatcher.on_send_buffered = self._sent

    @property
    def enabled(self) -> bool:
        """Whether anybody wants events (`-E`, `celery control enable_events`)."""
        dispatcher = self._dispatcher
        return bool(dispatcher.enabled) and (not dispatcher.groups or "task" in dispatcher.groups)

    def send(self, kind: str, task_id: str, **fields: Any) -> None:
        """Send an event, soon.

        Args:
            kind: `task-received`, `task-started`, …
            task_id: of the task.
            fields: of the event, values that JSON has.
        """
        self._waiting.append(
            {
                "type": kind,
                "uuid": task_id,
                "clock": self._forward(),
                "timestamp": time.time(),
                **self._fixed,
                **fields,
            }
        )
        if len(self._waiting) == EVENTS_AT_ONCE:
            self._post(self._flush)
        else:
            self._sent()

    def _sent(self) -> None:
        if not self._due:
            self._due = True
            self._post(self._wait)

    def _wait(self) -> None:
        self._timer.call_after(EVENTS_WAIT_S, self._flush_in_turn)

    def _flush_in_turn(self) -> None:
        self._due = False
        self._flush()

    def _flush(self) -> None:
        events, self._waiting = self._waiting, []
        dispatcher = self._dispatcher
        if events and dispatcher.producer is not None:
            offset = utcoffset()
            for event in events:
                event["utcoffset"] = offset
            try:
                dispatcher.producer.publish(
                    orjson.dumps(events, default=str),
                    exchange=dispatcher.exchange.name,
                    routing_key="task.multi",
                    content_type="application/json",
                    content_encoding="utf-8",
                    headers=dispatcher.headers,
                    delivery_mode=dispatcher.delivery_mode,
                )
            except Exception as error:  # noqa: BLE001  # they are for spectators
                _logger.warning("%d events not sent: %r", len(events), error)
        dispatcher.flush()


class LogLines:
    """LogLines of tasks at INFO, as Celery writes them; of one thread, which says when to write."""

    def __init__(self) -> None:
        self._records: list[tuple[logging.Logger, logging.LogRecord]] = []

    def add(
        self, logger: logging.Logger, form: str, fields: dict[str, Any], request_id: str
    ) -> bool:
        """Write a line at the next `write`.

        Args:
            logger: that is enabled for INFO.
            form: with the names of the fields.
            fields: also what the record has as `data`.
            request_id: of the HTTP request that the task comes from.

        Returns:
            Whether it is the first one since.
        """
        record = logger.makeRecord(
            logger.name, logging.INFO, __file__, 0, form, (fields,), None, extra={"data": fields}
        )
        record.request_id = request_id
        self._records.append((logger, record))
        return len(self._records) == 1

    def write(self) -> None:
        """Hand the lines to the handlers of their loggers, whose streams are flushed once."""
        records, self._records = self._records, []
        if not records:
            return
        with _flushed_once({logger for logger, _ in records}):
            for logger, record in records:
                logger.handle(record)


@contextmanager
def _flushed_once(loggers: set[logging.Logger]) -> Iterator[None]:
    """Let handlers that write to streams flush at the end, and not after each line."""
    handlers = {handler for logger in loggers for handler in _handlers_of(logger)}
    for handler in handlers:
        handler.__dict__["flush"] = _later
    try:
        yield
    finally:
        for handler in handlers:
            handler.__dict__.pop("flush", None)
            handler.flush()


def _handlers_of(logger: logging.Logger) -> Iterator[logging.StreamHandler[Any]]:
    current: logging.Logger | None = logger
    while current is not None:
        yield from (one for one in current.handlers if isinstance(one, logging.StreamHandler))
        current = current.parent if current.propagate else None


def _later() -> None:
    """Flush nothing."""
