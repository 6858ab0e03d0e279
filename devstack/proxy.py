"""A TCP proxy that a test cuts, stalls, narrows, or cuts after N bytes; it can be far away."""

import asyncio
import math
import time
from collections.abc import AsyncIterator
from enum import Enum
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

from devstack.ports import LOOPBACK, free_port

_CHUNK_BYTES = 65_536
_UNDER_WAY = 1000
"""Chunks of one connection that are held at once; what comes then waits for its sender."""


class Direction(Enum):
    """Who speaks."""

    TO_SERVER = "to server"
    TO_CLIENT = "to client"


class TcpProxy:
    """Forward connections from a port of its own to a server, until told otherwise.

    Use it as an async context manager, within one event loop.

    Args:
        target_port: Port of the server on 127.0.0.1.
        port: Port to listen on; a free one by default.
        away_s: Seconds that each octet is under way, in each direction: half a round trip.
    """

    def __init__(self, target_port: int, port: int | None = None, *, away_s: float = 0.0) -> None:
        self.target_port = target_port
        self.port = port or free_port()
        self._away_s = away_s
        self.passed_bytes = dict.fromkeys(Direction, 0)
        """Bytes forwarded so far, over all connections."""
        self._flowing = {direction: asyncio.Event() for direction in Direction}
        self._left: dict[Direction, int | None] = dict.fromkeys(Direction)
        self._widths = dict.fromkeys(Direction, math.inf)
        self._refusing = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.resume()

    async def __aenter__(self) -> Self:
        """Start listening."""
        self._server = await asyncio.start_server(self._accept, LOOPBACK, self.port)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop listening and cut what is open."""
        if self._server is not None:
            self._server.close()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # what was aborted closes its socket in the next turn

    @property
    def connections(self) -> int:
        """Open connections of clients."""
        return len(self._writers) // 2

    def url_through(self, url: str) -> str:
        """Return a server's address with our port in place of the server's."""
        parts = urlsplit(url)
        credentials = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
        return urlunsplit(parts._replace(netloc=f"{credentials}{LOOPBACK}:{self.port}"))

    def cut(self, *, refuse: bool = False) -> None:
        """Reset every open connection.

        Args:
            refuse: Also reset each new one at once, until `resume`.
        """
        self._refusing = refuse
        for writer in self._writers:
            if writer.transport is not None:
                writer.transport.abort()

    def stall(self, *directions: Direction) -> None:
        """Forward nothing until `resume`, keeping connections open: a partition.

        Args:
            directions: Both when none is given.
        """
        for direction in directions or tuple(Direction):
            self._flowing[direction].clear()

    def cut_after(self, count: int, direction: Direction) -> None:
        """Forward that many more bytes, over all connections, then reset every connection."""
        self._left[direction] = count

    def narrow(self, bytes_per_s: float, direction: Direction) -> None:
        """Forward no more than that over each connection, until `resume`."""
        self._widths[direction] = bytes_per_s

    def resume(self) -> None:
        """Forward everything again, take new connections, forget a `cut_after` or `narrow`."""
        self._refusing = False
        self._widths = dict.fromkeys(Direction, math.inf)
        self._left = dict.fromkeys(Direction)
        for event in self._flowing.values():
            event.set()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer), name="proxied connection")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # Whatever ends it: this proxy may end before it has begun.
        task.add_done_callback(lambda _: writer.transport.abort())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            return
        try:
            upstream = await asyncio.open_connection(LOOPBACK, self.target_port)
        except OSError:
            return
        writers = {writer, upstream[1]}
        self._writers |= writers
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, upstream[1], Direction.TO_SERVER))
                group.create_task(self._pump(upstream[0], writer, Direction.TO_CLIENT))
        finally:
            self._writers -= writers
            for each in writers:
                each.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: Direction
    ) -> None:
        try:
            async for chunk in self._chunks(reader):
                await self._flowing[direction].wait()
                left = self._left[direction]
                passed = chunk if left is None else chunk[:left]
                writer.write(passed)
                await writer.drain()
                self.passed_bytes[direction] += len(passed)
                if (width := self._widths[direction]) < math.inf:
                    await asyncio.sleep(len(passed) / width)
                if left is not None:
                    self._left[direction] = left - len(passed)
                    if self._left[direction] == 0:
                        await self._flush(writer)
                        self.cut()
                        return
            if writer.can_write_eof() and not writer.is_closing():
                writer.write_eof()
        except OSError:  # one side was reset: the other is told
            writer.transport.abort()

    async def _chunks(self, reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
        """Yield what is read, each chunk when it has arrived."""
        if not self._away_s:
            while chunk := await reader.read(_CHUNK_BYTES):
                yield chunk
            return
        line: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_UNDER_WAY)
        reading = asyncio.create_task(self._fill(line, reader), name="proxied distance")
        try:
            while True:
                due, chunk = await line.get()
                await asyncio.sleep(due - time.monotonic())
                if not chunk:
                    return
                yield chunk
        finally:
            reading.cancel()

    async def _fill(
        self, line: "asyncio.Queue[tuple[float, bytes]]", reader: asyncio.StreamReader
    ) -> None:
        chunk = b" "
        while chunk:
            try:
                chunk = await reader.read(_CHUNK_BYTES)
            except OSError:
                chunk = b""
            await line.put((time.monotonic() + self._away_s, chunk))

    @staticmethod
    async def _flush(writer: asyncio.StreamWriter) -> None:
        """Wait until the kernel has what was written: an abort would throw it away."""
        writer.transport.set_write_buffer_limits(high=0)
        await writer.drain()
