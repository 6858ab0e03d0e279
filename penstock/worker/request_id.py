"""The id of the HTTP request that a task comes from, in the log lines of a worker.

Each record of the process has it as `request_id` (empty: there is none), for formats and handlers
of one's own. Celery's own formats show it at the end of a line.
"""

import logging
import re
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from celery.app.log import Logging as CeleryLogging

from penstock.wire.headers import MAX_REQUEST_ID, REQUEST_HEADER

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
"""Of the delivery that is handled, or of the task that runs, here."""
_SANE = re.compile(rf"[A-Za-z0-9._:/+=@-]{{1,{MAX_REQUEST_ID}}}")


def request_id_of(headers: Mapping[str, Any] | None) -> str:
    """Return the id that the headers of a message name; empty: they name none that is sound."""
    found = headers.get(REQUEST_HEADER) if headers else None
    return found if type(found) is str and _SANE.fullmatch(found) else ""


def mark_records() -> None:
    """Have each log record of this process carry the id, from now on.

    Where it is handed to the handlers, not where it is made: `Logger.makeRecord` raises KeyError
    for an `extra` that the record has already, and a task may have a `request_id` of its own.
    """
    handle = logging.Logger.handle
    if getattr(handle, "marks_request_id", False):
        return

    def marked(self: logging.Logger, record: logging.LogRecord) -> None:
        record.__dict__.setdefault("request_id", REQUEST_ID.get())
        handle(self, record)

    marked.marks_request_id = True  # type: ignore[attr-defined]
    logging.Logger.handle = marked  # type: ignore[method-assign]  # of loggers that exist, too


class _Shown:
    """Shows the id at the end of the first line of a message. Stands before a formatter."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's
        text: str = super().formatMessage(record)  # type: ignore[misc]
        request_id = getattr(record, "request_id", "")
        if not request_id:
            return text
        line, end, rest = text.partition("\n")
        return f"{line} request_id={request_id}{end}{rest}"


class Logging(CeleryLogging):  # type: ignore[misc]  # Celery has no types
    """Celery's logging, whose lines show the id."""

    def setup_handlers(self, *args: Any, **kwargs: Any) -> Any:
        """Make the handlers of a logger."""
        logger = super().setup_handlers(*args, **kwargs)
        for handler in logger.handlers:
            formatter = handler.formatter
            if formatter is not None and not isinstance(formatter, _Shown):
                formatter.__class__ = type("Formatter", (_Shown, type(formatter)), {})
        return logger
