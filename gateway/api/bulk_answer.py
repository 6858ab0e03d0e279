"""The answer of a bulk stream: outcomes go out while the request is still coming in.

A client that sends everything before it reads anything must not be waited for while it sends:
both sides would wait for ever. So outcomes are buffered, up to 4 MiB, before reading slows down.
"""

import asyncio
from typing import Final

from aiohttp import web

MAX_BUFFERED_BYTES: Final = 4 * 1024 * 1024
_PIECE_BYTES: Final = 64 * 1024


class OutcomeStream:
    """Writes outcomes as fast as the client reads them.

    Args:
        request: Whose answer it is.
        response: Not yet prepared.
        eager: Write from the first outcome on; else only when the buffer is full, or at the end,
            so that a client that reads last gets a complete answer without a pause.
        stall_s: How long a full buffer waits for a client that reads nothing.
    """

    def __init__(
        self, request: web.Request, response: web.StreamResponse, *, eager: bool, stall_s: float
    ) -> None:
        self._request = request
        self._response = response
        self._eager = eager
        self._stall_s = stall_s
        self._lines: list[bytes] = []
        self._size = 0
        self._something = asyncio.Event()
        self._less = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None
        self._ended = False
        self.omitted = 0
        """Refusals that were not told, because the client did not read any."""
        self._omitting = False

    @property
    def started(self) -> bool:
        """Whether the answer has begun, so that no other can be given."""
        return self._writer is not None

    def tell(self, line: bytes) -> None:
        """Take one outcome, without its newline."""
        if self._omitting and self._size >= MAX_BUFFERED_BYTES:
            self.omitted += 1
            return
        self._lines.append(line)
        self._size += len(line) + 1
        if self._eager:
            self._something.set()

    async def keep_up(self) -> None:
        """Wait while more than 4 MiB are buffered.

        Raises:
            ConnectionResetError: The client is gone, or has read nothing of `all` for too long.
        """
        if self._eager and self._writer is None:
            self._start()
        if self._writer is not None and self._writer.done():
            self._writer.result()
        if self._size < MAX_BUFFERED_BYTES or self._omitting:
            return
        if self._writer is None:
            self._start()
        self._something.set()
        while self._size >= MAX_BUFFERED_BYTES:
            self._less.clear()
            before = self._size
            try:
                async with asyncio.timeout(self._stall_s):
                    await self._less.wait()
            except TimeoutError:
                if self._size >= before:
                    self._give_up()
                    return
            if self._writer is not None and self._writer.done():
                self._writer.result()

    async def finish(self, last: bytes) -> None:
        """Write everything that is left, then the last line, and end the answer.

        Raises:
            ConnectionResetError: The client is gone.
        """
        self._omitting = False
        self.tell(last)
        if self._writer is None:
            self._start()
        self._ended = True
        self._something.set()
        if self._writer is not None:
            await self._writer
        await self._response.write_eof()

    def close(self) -> None:
        """Stop writing; for when the answer will not be finished."""
        if self._writer is not None:
            self._writer.cancel()

    def _start(self) -> None:
        self._writer = asyncio.create_task(self._write(), name="bulk-outcomes")

    def _give_up(self) -> None:
        """The client does not read while it sends."""
        if self._eager:
            self._response.force_close()
            if self._request.transport is not None:
                self._request.transport.abort()
            raise ConnectionResetError("the client does not read the outcomes it asked for")
        self._omitting = True

    async def _write(self) -> None:
        await self._response.prepare(self._request)
        while True:
            if not self._lines:
                if self._ended:
                    return
                self._something.clear()
                await self._something.wait()
            lines, self._lines = self._lines, []
            text = b"\n".join(lines) + b"\n"
            for start in range(0, len(text), _PIECE_BYTES):
                piece = text[start : start + _PIECE_BYTES]
                await self._response.write(piece)
                self._size -= len(piece)
                self._less.set()
