"""Logs as JSON lines: a constant event, fields, the request id; never a secret.

    {"time":"2026-01-31T12:00:00.123Z","level":"warning","event":"publish-channel-lost",
     "logger":"gateway.rabbitmq.publisher","in_flight":3,"request_id":"…"}

`log.warning("publish-channel-lost", extra={"in_flight": 3})` writes that. A thread writes the
lines: a reader of the pipe that stalls must not stall the event loop, so lines over a bound are
dropped and counted.
"""

import atexit
import contextlib
import logging
import queue
import re
import sys
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from logging.handlers import QueueListener
from typing import Any, TextIO

import orjson

REQUEST_ID = ContextVar("request_id", default="")
"""Id of the request being handled; every line written meanwhile has it."""
MAX_WAITING_LINES = 10_000
"""Lines that wait for the writing thread at most."""
MAX_WAITING_BATCHES = 100
"""While so much waits no lines that come many at a time are taken."""
MAX_BATCH_CHARS = 64 * 1024
"""Of lines that come many at a time, together."""
STOP_TIMEOUT_S = 2.0
"""Longest wait at the end for lines to be written."""

_NOISY = {"aiormq": "CRITICAL", "aio_pika": "CRITICAL", "aiohttp.access": "WARNING",
          "asyncio": "WARNING"}  # fmt: skip
"""Loggers of libraries, and the lowest level of theirs that is written."""
_OWN_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_SECRETS = (
    (re.compile(r"(://)[^/@\s\"]*:[^/@\s\"]*@"), r"\1***@"),
    (re.compile(r"(?i)\b(bearer|basic) +[\w.~+/=-]{4,}"), r"\1 ***"),
    (re.compile(r"([?&](?:ticket|key|token)=)[^&\s\"]+"), r"\1***"),
)


class JsonLine(logging.Formatter):
    """One log record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {
            "time": time.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "logger": record.name,
        }
        if request_id := REQUEST_ID.get():
            line["request_id"] = request_id
        taken = _OWN_FIELDS | line.keys()  # a field must not hide which event it belongs to
        line |= {name: value for name, value in vars(record).items() if name not in taken}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return hide_secrets(
            orjson.dumps(line, default=repr, option=orjson.OPT_NON_STR_KEYS).decode()
        )


def hide_secrets(text: str) -> str:
    """The text without credentials of URLs, keys of headers and tickets of queries."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


class _Handing(logging.Handler):
    """Formats where the record is made, and hands the line to the thread."""

    def __init__(self, lines: "queue.Queue[Any]") -> None:
        super().__init__()
        self._lines = lines
        self.dropped = 0
        self.setFormatter(JsonLine())

    def emit(self, record: logging.LogRecord) -> None:
        batch: list[str] | None = getattr(record, "lines", None)
        try:
            if batch is None:
                self._lines.put_nowait(self.format(record))
            elif self._lines.qsize() < MAX_WAITING_BATCHES:
                self._lines.put_nowait("\n".join(batch))
            else:
                self.dropped += len(batch)
        except queue.Full:
            self.dropped += 1
        except Exception:  # noqa: BLE001  # as logging does it: a log call never raises
            self.handleError(record)


class _Writing(logging.Handler):
    """Writes lines in the thread."""

    def __init__(self, stream: TextIO, handing: _Handing) -> None:
        super().__init__()
        self._stream = stream
        self._handing = handing

    def handle(self, record: Any) -> bool:
        lines = [record]
        if dropped := self._handing.dropped:
            self._handing.dropped = 0
            lines.append(f'{{"level":"warning","event":"log-lines-dropped","count":{dropped}}}')
        with contextlib.suppress(OSError):  # nobody reads any more: nobody to tell
            self._stream.write("\n".join(lines) + "\n")
            self._stream.flush()
        return True


class _Listener(QueueListener):
    """Hands the lines on as they are: they are strings, not records."""

    def prepare(self, record: Any) -> Any:
        return record

    def stop(self) -> None:
        """End the thread; one that a stalled reader holds up ends with the process."""
        thread, self._thread = self._thread, None
        if thread is not None:
            with contextlib.suppress(queue.Full):
                self.queue.put(self._sentinel, timeout=STOP_TIMEOUT_S)  # type: ignore[attr-defined]
                thread.join(STOP_TIMEOUT_S)


def configure_logging(stream: TextIO | None = None) -> Callable[[], None]:
    """Send every logger's records to the stream as JSON lines.

    Args:
        stream: Where to; None: standard error.

    Returns:
        A function that writes what waits and ends the thread; called when the process exits.
    """
    lines: queue.Queue[Any] = queue.Queue(MAX_WAITING_LINES)
    handing = _Handing(lines)
    listener = _Listener(lines, _Writing(stream or sys.stderr, handing))
    root = logging.getLogger()
    root.handlers[:] = [handing]
    root.setLevel("INFO")
    # Their lines per request and reconnect say nothing that ours do not. What AMQP's clients log of
    # a lost connection, with tracebacks and for each channel, they raise as well: one line is ours.
    for noisy, lowest in _NOISY.items():
        logging.getLogger(noisy).setLevel(lowest)
    listener.start()

    def stop() -> None:
        atexit.unregister(stop)
        root.removeHandler(handing)
        listener.stop()

    atexit.register(stop)
    return stop
