"""Progress and lines of output of a running task, to Redis; best effort."""

import asyncio
import logging
import math
import operator
from collections.abc import Callable
from typing import Any, SupportsIndex

import redis.asyncio
from celery.exceptions import SoftTimeLimitExceeded

from penstock.wire.scripts import Script, script
from penstock.worker.ending.failures import MAX_SHOWN_CHARS, safe_text, safely
from penstock.worker.results.result_backend import RedisBackend
from penstock.worker.results.script_calls import call_script

PATIENCE_S = 1.0
"""How long a task waits for Redis to take a progress state, before it goes on without."""

MAX_LINE_CHARS = 16 * 1024
"""Of a longer line, its beginning is kept."""
MAX_STREAM_CHARS = 64

_INTERRUPTIONS = (SoftTimeLimitExceeded, asyncio.CancelledError)
"""What the code of others did not raise when it is asked for its text: it is for the task."""

_logger = logging.getLogger(__name__)


class Reporter:
    """Writes for one execution.

    Args:
        backend: encodes, and writes for tasks that are no coroutines.
        request: Celery's context of the execution.
        client: writes for coroutines.
        tracked: whether anything is written at all (`ignore_result`).
    """

    def __init__(
        self, backend: RedisBackend, request: Any, client: redis.asyncio.Redis, *, tracked: bool
    ) -> None:
        self._backend = backend
        self._request = request
        self._client = client
        self._tracked = tracked

    async def progress(self, current: float, total: float | None, message: str | None) -> None:
        """Store a PROGRESS state."""
        await self._write(script("task_record"), lambda: self._progress(current, total, message))

    def progress_sync(self, current: float, total: float | None, message: str | None) -> None:
        """Do so from a thread."""
        self._write_sync(script("task_record"), lambda: self._progress(current, total, message))

    async def log(self, line: str, stream: str) -> None:
        """Append a line of output; of a very long one, its beginning."""
        await self._write(script("task_log"), lambda: self._line(line, stream))

    def log_sync(self, line: str, stream: str) -> None:
        """Do so from a thread."""
        self._write_sync(script("task_log"), lambda: self._line(line, stream))

    def _progress(self, current: object, total: object, message: object) -> dict[str, Any]:
        progress = {
            "current": self._number(current, "current"),
            "total": self._number(total, "total"),
            "message": None if message is None else _text(message),
        }
        return self._backend.progress_arguments(self._request, progress)

    def _line(self, line: object, stream: object) -> dict[str, Any]:
        log = {"stream": _text(stream)[:MAX_STREAM_CHARS], "line": _text(line)}
        return self._backend.log_arguments(self._request.id, log)

    def _number(self, value: object, name: str) -> float | None:
        """The number as JSON has it; what is none is left out, and logged."""
        if value is None:
            return None
        found = safely(lambda: _number_of(value), None, _INTERRUPTIONS)
        if found is None:
            shown = safe_text(value, "", _INTERRUPTIONS)[:MAX_SHOWN_CHARS]
            _logger.warning(
                "progress without %s: task_id=%s value=%r", name, self._request.id, shown
            )
        return found

    async def _write(self, change: Script, make: Callable[[], dict[str, Any]]) -> None:
        if not self._tracked:
            return
        try:
            arguments = make()
            async with asyncio.timeout(PATIENCE_S):
                await call_script(self._client, change, **arguments)
        except Exception as error:  # noqa: BLE001  # a task does not fail for its spectators
            _logger.warning("progress dropped: task_id=%s error=%r", self._request.id, error)

    def _write_sync(self, change: Script, make: Callable[[], dict[str, Any]]) -> None:
        if not self._tracked:
            return
        try:
            arguments = make()
            self._backend.scripts.call(change, **arguments)
        except _INTERRUPTIONS:
            raise
        except Exception as error:  # noqa: BLE001  # as above
            _logger.warning("progress dropped: task_id=%s error=%r", self._request.id, error)


def _text(value: object) -> str:
    return safe_text(value, "<unprintable>", _INTERRUPTIONS)[:MAX_LINE_CHARS]


def _number_of(value: Any) -> float | None:
    """As an integer of 64 bits or a finite double; None for what is neither."""
    if isinstance(value, SupportsIndex):
        whole = operator.index(value)
        return int(whole) if -(2**63) <= whole < 2**63 else None
    number = float(value)
    return number if math.isfinite(number) and not isinstance(value, str) else None
