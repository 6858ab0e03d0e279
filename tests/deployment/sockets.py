"""Raw sockets to a gateway, for what no HTTP client would send."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any, ClassVar


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

    @classmethod
    async def close_all(cls) -> None:
        """Reset every connection that a test left open."""
        for socket in cls.opened:
            socket.close()
        cls.opened.clear()
        await asyncio.sleep(0)  # what was aborted is closed in the next turn of the loop
