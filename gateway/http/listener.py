"""The listening socket: connections up to a bound, and a look for overdue ones each second."""

import asyncio
import contextlib
import logging
import resource
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from aiohttp import web

from gateway.config import GatewayConfig
from gateway.http import expectations
from gateway.http.connection import Connection
from gateway.http.rejected_connection import RejectedConnection
from penstock.looper import Looper

log = logging.getLogger(__name__)

KEEPALIVE_S: Final = 75.0
"""How long a connection may rest between two requests."""
_BACKLOG: Final = 2048
_SWEEP_S: Final = 1.0
_READY_WITHIN_S: Final = 5.0
"""How long one of several processes waits for RabbitMQ before it takes requests all the same."""
_TURNED_AWAY: Final = 128
"""Connections beyond the bound that get an answer at the same time; more are cut."""
READ_BUFFER_BYTES: Final = 32 * 1024
"""Of a body, read ahead of its handler; aiohttp also parses only a sixteenth as many chunks in one
go. A chunk of one octet costs 3 µs, and the socket hands over 40,000 of them."""
_OTHER_FILES: Final = 128
"""Descriptors for servers, files and the loop itself."""


class Listener:
    """Makes a protocol for each connection that is accepted.

    Args:
        server: aiohttp's, which the connections belong to.
        config: Bounds.
    """

    def __init__(self, server: web.Server, config: GatewayConfig) -> None:
        self._server = server
        self._header_timeout_s = config.header_timeout_s
        self._max_connections = min(config.max_connections, _room_for_files(config.max_connections))
        self._loop = asyncio.get_running_loop()
        self._socket: asyncio.Server | None = None
        self._sweep: asyncio.Task[None] | None = None
        self.looper = Looper(
            "listener", self._look, interval_s=min(_SWEEP_S, self._header_timeout_s)
        )
        """Looks for overdue connections."""
        self._turned_away: set[RejectedConnection] = set()
        self.connections: set[Connection] = set()
        """Those that are open."""
        self.refused = 0
        """Connections turned away so far."""
        self.on_refused: Callable[[int, str, str], None] = lambda *_: None
        """Called with status, request id and code of what is answered before it is a request."""
        # `Any`: aiohttp's own runner passes None for no access log, its annotation has no None.
        self._options: dict[str, Any] = {
            "access_log": None,
            "auto_decompress": False,
            "keepalive_timeout": KEEPALIVE_S,
            "read_bufsize": READ_BUFFER_BYTES,
        }

    def __repr__(self) -> str:
        return f"<Listener {len(self.connections)} of {self._max_connections} connections>"

    @property
    def port(self) -> int:
        """The port it listens on."""
        if self._socket is None:
            raise RuntimeError("not listening")
        port: int = self._socket.sockets[0].getsockname()[1]
        return port

    def __call__(self) -> asyncio.Protocol:
        """Return the protocol of one accepted connection."""
        if len(self.connections) >= self._max_connections:
            self.refused += 1
            return RejectedConnection(self._turned_away, _TURNED_AWAY, self.on_refused)
        connection = Connection(self._server, loop=self._loop, **self._options)
        connection.join(self.connections, self.on_refused)
        return connection

    async def start(self, host: str, port: int, *, reuse_port: bool = False) -> None:
        """Listen.

        Args:
            host: Address.
            port: Port; 0 for a free one.
            reuse_port: Share the port with other processes.

        Raises:
            OSError: The address cannot be listened on.
        """
        self._socket = await self._loop.create_server(
            self, host, port, backlog=_BACKLOG, reuse_port=reuse_port or None
        )
        self._sweep = asyncio.create_task(self.looper.run(), name=self.looper.name)

    def close(self) -> None:
        """Accept no more; what is open stays open."""
        if self._sweep is not None:
            self._sweep.cancel()
        if self._socket is not None:
            self._socket.close()

    async def _look(self) -> None:
        begun_before = self._loop.time() - self._header_timeout_s
        late = 0
        failed: Exception | None = None
        for each in tuple(self.connections):
            try:
                late += each.drop_if_overdue(begun_before)
            except Exception as error:  # noqa: BLE001  # raised below, when all had their turn
                failed = error
        if late:
            log.info("slow-heads-closed", extra={"count": late})
        if failed is not None:
            raise failed


@contextlib.asynccontextmanager
async def listening(
    app: web.Application,
    config: GatewayConfig,
    added: Callable[[Listener], None],
    ready: Callable[[], bool] | None = None,
) -> AsyncIterator[Listener]:
    """Start the application and listen; at the end drain it.

    Args:
        app: What to serve.
        config: Address and bounds.
        added: Given the listener before it listens: for its loop and its figures.
        ready: Whether requests can be taken; given where the port is shared with other processes
            of this gateway, which then answer for this one.

    Raises:
        OSError: The address cannot be listened on.
    """
    runner = web.AppRunner(app, shutdown_timeout=config.drain_timeout_s)
    await runner.setup()
    server = runner.server
    assert server is not None  # noqa: S101  # set up above
    server.request_factory = expectations.kept_aside(server.request_factory)
    listener = Listener(server, config)
    added(listener)
    try:
        if ready is not None:
            await _until(ready)
        await listener.start(config.host, config.port, reuse_port=ready is not None)
        yield listener
    finally:
        listener.close()
        await runner.cleanup()


async def _until(ready: Callable[[], bool]) -> None:
    """Wait before sharing the port: what another process answers to /readyz holds for this one."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_READY_WITHIN_S):
            while not ready():  # noqa: ASYNC110  (once, at the start)
                await asyncio.sleep(0.02)


def _room_for_files(wanted: int) -> int:
    """Raise the process's bound of open files as far as needed and allowed: the connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + _OTHER_FILES + _TURNED_AWAY
    if soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    room = max(1, soft - _OTHER_FILES - _TURNED_AWAY)
    if room < wanted:
        log.warning("fewer-connections", extra={"connections": room, "open_files": soft})
    return min(wanted, room)
