"""Reading what a script prints: bounded, line by line, and never in the script's way."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from penstock.wire.keys import EVENTS_LENGTH

MAX_OUTPUT_BYTES = 256 * 1024
"""Kept and logged of each of stdout and stderr; the rest is read, so that the script never blocks
on a full pipe, and dropped."""

MAX_LINE_BYTES = 8 * 1024
"""A longer line is logged in pieces: a progress bar without newlines is one endless line."""

MOST_WAITING = EVENTS_LENGTH
"""Lines on their way to the log: so many events of a task are kept, and each line costs a call of
Redis, also when the script has ended."""

_READ_BYTES = 64 * 1024


class Capture:
    """One pipe of our own, as an asynchronous context manager.

    It is not `asyncio.subprocess.PIPE`, because `Process.wait()` then waits for the end of every
    pipe (Python 3.11, `base_subprocess._call_connection_lost`), which a descendant that the script
    left behind can hold open for ever.
    """

    def __init__(self, lines: "Lines", name: str) -> None:
        self._lines = lines
        self._name = name
        self._kept = bytearray()
        self._line = bytearray()
        self.truncated = False
        self.write_end = -1

    async def __aenter__(self) -> Self:
        """Open the pipe."""
        read_end, self.write_end = os.pipe()
        self._reader = asyncio.StreamReader()
        self._transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(self._reader),
            os.fdopen(read_end, "rb", buffering=0),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close both ends."""
        self.close_write_end()
        self._transport.close()

    def close_write_end(self) -> None:
        """Close our copy of the end that the script writes to, or the pipe never ends."""
        if self.write_end >= 0:
            os.close(self.write_end)
            self.write_end = -1

    async def read(self) -> None:
        """Read to the end of the pipe."""
        try:
            while chunk := await self._reader.read(_READ_BYTES):
                kept = chunk[: MAX_OUTPUT_BYTES - len(self._kept)]
                self.truncated = self.truncated or len(kept) < len(chunk)
                self._kept += kept
                self._split(kept)
        finally:
            if self._line:
                self._put(self._line)

    @property
    def text(self) -> str:
        """Everything kept; what is not UTF-8 became U+FFFD."""
        return self._kept.decode(errors="replace")

    def _split(self, chunk: bytes) -> None:
        self._line += chunk
        *complete, rest = self._line.split(b"\n")
        for line in complete:
            for start in range(0, len(line) or 1, MAX_LINE_BYTES):
                self._put(line[start : start + MAX_LINE_BYTES])
        while len(rest) >= MAX_LINE_BYTES:
            self._put(rest[:MAX_LINE_BYTES])
            rest = rest[MAX_LINE_BYTES:]
        self._line = rest

    def _put(self, line: bytearray) -> None:
        self._lines.put(line.removesuffix(b"\r").decode(errors="replace"), self._name)


class Lines:
    """The lines of both pipes, in the order in which they were read, on their way to the log.

    Between reading and logging, so that a slow Redis does not slow the script down. Of more lines
    than `MOST_WAITING` the oldest are left out, and the log says how many.
    """

    def __init__(self) -> None:
        self._queue: asyncio.Queue[tuple[str, str] | None] = asyncio.Queue()
        self._left_out = 0

    def put(self, line: str, stream: str) -> None:
        """Append one line of `stdout` or `stderr`."""
        if self._queue.qsize() >= MOST_WAITING:
            self._queue.get_nowait()
            self._left_out += 1
        self._queue.put_nowait((line, stream))

    def end(self) -> None:
        """Say that no line follows."""
        self._queue.put_nowait(None)

    async def forward(self, log: Callable[[str, str], Awaitable[None]]) -> None:
        """Hand each line to `log(line, stream)` until the end."""
        while (entry := await self._queue.get()) is not None:
            left_out, self._left_out = self._left_out, 0
            if left_out:
                await log(f"… {left_out} lines left out", entry[1])
            await log(*entry)
