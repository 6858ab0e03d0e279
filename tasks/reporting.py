"""Progress and lines of output of a running task, to Redis; best effort."""

import asyncio
import logging
from typing import Any

import redis.asyncio
from redis.exceptions import RedisError

from tasks.result_backend import RedisBackend
from tasks.script_calls import Script
from tasks.states import LOG, MAX_LINE_CHARS, RECORD

PATIENCE_S = 1.0
"""How long a task waits for Redis to take a progress state, before it goes on without."""

_SCRIPTS = {text: Script(text) for text in (RECORD, LOG)}

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
        await self._write(RECORD, self._progress(current, total, message))

    def progress_sync(self, current: float, total: float | None, message: str | None) -> None:
        """Do so from a thread."""
        self._write_sync(RECORD, self._progress(current, total, message))

    async def log(self, line: str, stream: str) -> None:
        """Append a line of output; of a very long one, its beginning."""
        await self._write(LOG, self._line(line, stream))

    def log_sync(self, line: str, stream: str) -> None:
        """Do so from a thread."""
        self._write_sync(LOG, self._line(line, stream))

    def _progress(self, current: float, total: float | None, message: str | None) -> dict[str, Any]:
        progress = {"current": current, "total": total, "message": message}
        return self._backend.progress_arguments(self._request, progress)

    def _line(self, line: str, stream: str) -> dict[str, Any]:
        log = {"stream": stream, "line": line[:MAX_LINE_CHARS]}
        return self._backend.log_arguments(self._request.id, log)

    async def _write(self, script: str, arguments: dict[str, Any]) -> None:
        if not self._tracked:
            return
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._client.register_script(script)(**arguments)
        except (RedisError, OSError, TimeoutError) as error:
            _logger.warning("progress dropped: task_id=%s error=%r", self._request.id, error)

    def _write_sync(self, script: str, arguments: dict[str, Any]) -> None:
        if not self._tracked:
            return
        try:
            self._backend.scripts.call(_SCRIPTS[script], arguments["keys"], arguments["args"])
        except (RedisError, OSError) as error:
            _logger.warning("progress dropped: task_id=%s error=%r", self._request.id, error)
