"""Raw sockets to the gateway as it listens in production, for what no HTTP client would send."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from aiohttp import web

from gateway.app import add_listener, make_app
from gateway.config import GatewayConfig
from gateway.http.listener import Listener, listening


@asynccontextmanager
async def listening_gateway(**fields: Any) -> AsyncIterator[Listener]:
    """A gateway on a free port, without servers unless the fields name some."""
    config = GatewayConfig(
        **{
            "amqp_url": "amqp://127.0.0.1:1/",
            "redis_url": "redis://127.0.0.1:1/0",
            "task_id_keys": ((1, b"s" * 32),),
            "port": 0,
            **fields,
        }
    )
    app = make_app(config)
    async with listening(app, config, partial(add_listener, app)) as listener:
        listener.app = app  # type: ignore[attr-defined]  # for tests that look inside
        try:
            yield listener
        finally:
            for socket in Socket.opened:
                socket.close()
            Socket.opened.clear()
            await asyncio.sleep(0)  # what was aborted is closed in the next turn of the loop


def app_of(listener: Listener) -> web.Application:
    """The application of a listener from `listening_gateway`, for tests that look inside."""
    app: web.Application = listener.app  # type: ignore[attr-defined]  # put there above
    return app


@dataclass
class Answer:
    """One HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    def problem(self) -> dict[str, Any]:
        """The body of a refusal."""
        assert self.headers["content-type"] == "application/problem+json", self
        problem: dict[str, Any] = json.loads(self.body)
        assert problem["status"] == self.status
        return problem


class Socket:
    """One connection; closed with the gateway at the latest."""

    opened: ClassVar[list[Any]] = []

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def to(cls, port: int) -> "Socket":
        """Connect."""
        socket = cls(*await asyncio.open_connection("127.0.0.1", port))
        cls.opened.append(socket)
        return socket

    async def write(self, octets: bytes) -> None:
        """Write them, however slowly they are taken."""
        self._writer.write(octets)
        await self._writer.drain()

    async def answer(self, timeout_s: float = 10, *, bodiless: bool = False) -> Answer:
        """The next answer; to a HEAD it has no body."""
        async with asyncio.timeout(timeout_s):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").splitlines()
            headers = {
                name.lower(): value.strip()
                for name, _, value in (line.partition(":") for line in head[1:] if line)
            }
            length = 0 if bodiless else int(headers.get("content-length", 0))
            body = await self._reader.readexactly(length)
        return Answer(int(head[0].split()[1]), headers, body)

    async def end(self, timeout_s: float = 10) -> bytes:
        """All that comes until the other side closes."""
        async with asyncio.timeout(timeout_s):
            try:
                return await self._reader.read()
            except ConnectionError:
                return b""

    def close(self) -> None:
        """Reset the connection."""
        self._writer.transport.abort()
