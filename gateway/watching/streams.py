"""Every stream of a process: one look for silent ones, one end when a key is gone."""

import asyncio
from typing import Final, Protocol

from aiohttp import WSCloseCode, web

from gateway.watching.sockets import Socket
from gateway.watching.stream_parts import StreamLimits, StreamParts
from gateway.watching.viewers import Viewer
from penstock.looper import Looper

_IDS_AT_ONCE: Final = 500


class _Keyed(Protocol):
    """A stream that some key opened."""

    @property
    def welcome(self) -> bool:
        """Whether its key is still there, with the rights that it had."""

    def refuse(self) -> None:
        """End it because its key is gone."""


class Source(_Keyed, Protocol):
    """An event stream."""

    def end(self) -> None:
        """Send nothing more."""


class Streams:
    """All streams of the process.

    Args:
        parts: What each works with.
    """

    def __init__(self, parts: StreamParts) -> None:
        self.parts = parts
        self._sockets: set[Socket] = set()
        self.sources: set[Source] = set()
        """Clients of Server-Sent Events."""
        self.looper = Looper("streams", self._sweep, interval_s=1.0)
        """Looks for silent sockets."""
        self.limits = parts.limits

    def __len__(self) -> int:
        """How many clients there are."""
        return len(self._sockets) + len(self.sources)

    @property
    def limits(self) -> StreamLimits:
        """What each client may do."""
        return self.parts.limits

    @limits.setter
    def limits(self, limits: StreamLimits) -> None:
        self.parts.limits = limits
        self.looper.interval_s = min(limits.ping_after_s, limits.dead_after_s) / 4

    @property
    def open(self) -> dict[str, float]:
        """The same by kind."""
        return {"websocket": len(self._sockets), "event-source": len(self.sources)}

    async def serve(self, request: web.Request, viewer: Viewer) -> web.StreamResponse:
        """Serve one client; see `Socket.serve`."""
        socket = Socket(viewer, self.parts)
        self._sockets.add(socket)
        try:
            return await socket.serve(request)
        finally:
            self._sockets.discard(socket)

    async def _sweep(self) -> None:
        """Look at every socket once; one that fails is cut, and costs no other its turn."""
        now = asyncio.get_running_loop().time()
        failed: Exception | None = None
        for number, socket in enumerate(tuple(self._sockets)):
            try:
                socket.sweep(now)
            except Exception as error:  # noqa: BLE001  # raised below, when all had their turn
                failed = error
                socket.cut()
            if number % _IDS_AT_ONCE == 0:
                await asyncio.sleep(0)
        if failed is not None:
            raise failed

    async def end_without_key(self) -> None:
        """End the streams whose key was removed, or changed in what it may do."""
        streams: list[_Keyed] = [*self._sockets, *self.sources]
        for number, stream in enumerate(streams):
            if not stream.welcome:
                stream.refuse()
            if number % _IDS_AT_ONCE == 0:
                await asyncio.sleep(0)

    def close(self) -> None:
        """Ask every client to come back elsewhere."""
        for socket in tuple(self._sockets):
            socket.close_soon(WSCloseCode.GOING_AWAY, "shutting-down")
        for source in tuple(self.sources):
            self.parts.counts.closed["shutting-down"] += 1
            source.end()
