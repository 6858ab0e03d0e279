"""One WebSocket of the gateway that tells a client the ends of its tasks, as cheap as can be."""

import asyncio
import json
import os
import re
from typing import cast
from urllib.parse import urlsplit

from bench.apps.watchers import frame

_TEXT, _PING = 1, 9
_MASK = b"\0\0\0\0"
_ID = re.compile(rb'"id": ?"([^"]+)"')
_STATE = re.compile(rb'"state": ?"([A-Z]+)"')
_FINAL = frozenset({b"SUCCESS", b"FAILURE", b"REVOKED"})
_FORGOTTEN_AT_ONCE = 500


class EndsSocket(asyncio.Protocol):
    """A client: `await (await EndsSocket.open(url)).end(task_id)`."""

    def __init__(self) -> None:
        self._buffer = b""
        self.upgraded: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting: dict[str, asyncio.Future[bytes]] = {}
        self._wanted: list[str] = []
        self._ended: list[str] = []
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def open(cls, url: str) -> "EndsSocket":
        """Connect; API_KEY is sent as the bearer.

        Raises:
            RuntimeError: The gateway refused.
        """
        parts = urlsplit(url)
        loop = asyncio.get_running_loop()
        host, port = parts.hostname or "127.0.0.1", parts.port or 80
        transport, socket = await loop.create_connection(cls, host, port)
        transport.write(
            (
                f"GET /v1/stream HTTP/1.1\r\nHost: {parts.netloc}\r\n"
                f"Authorization: Bearer {os.environ['API_KEY']}\r\n"
                "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                "Sec-WebSocket-Protocol: penstock.v1\r\n\r\n"
            ).encode()
        )
        await socket.upgraded
        return socket

    def end(self, task_id: str) -> "asyncio.Future[bytes]":
        """The final state of a task; asked for together with others of this turn of the loop."""
        loop = asyncio.get_running_loop()
        if not self._wanted:
            loop.call_soon(self._ask)
        self._wanted.append(task_id)
        return self._waiting.setdefault(task_id, loop.create_future())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none of asyncio's

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        if not self.upgraded.done():
            head, ended, buffer = buffer.partition(b"\r\n\r\n")
            if not ended:
                self._buffer = head
                return
            if b" 101 " not in head[:20]:
                self.upgraded.set_exception(RuntimeError((head + buffer).decode()[:300]))
                return
            self.upgraded.set_result(None)
        at = 0
        while (found := frame(buffer, at)) is not None:
            opcode, start, at = found
            if opcode == _TEXT:
                self._hear(buffer[start:at])
            elif opcode == _PING:
                self._write(0x8A, buffer[start:at])
        self._buffer = buffer[at:]

    def connection_lost(self, _error: Exception | None) -> None:
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(RuntimeError("the gateway closed the socket"))

    def _hear(self, told: bytes) -> None:
        state, task = _STATE.search(told), _ID.search(told)
        if state is None or task is None or state[1] not in _FINAL:
            return
        waiting = self._waiting.pop(task[1].decode(), None)
        if waiting is None:
            return
        waiting.set_result(state[1])
        self._ended.append(task[1].decode())
        if len(self._ended) >= _FORGOTTEN_AT_ONCE:  # a socket has 10,000 at most
            self._tell("unsubscribe", self._ended)
            self._ended = []

    def _ask(self) -> None:
        wanted, self._wanted = self._wanted, []
        self._tell("subscribe", wanted)

    def _tell(self, op: str, ids: list[str]) -> None:
        self._write(0x80 | _TEXT, json.dumps({"op": op, "ids": ids}).encode())

    def _write(self, first: int, payload: bytes) -> None:
        """One masked frame (RFC 6455, section 5.2)."""
        size = len(payload)
        if size < 126:
            head = bytes((first, 0x80 | size))
        else:
            head = bytes((first, 0x80 | 126)) + size.to_bytes(2, "big")
        assert self._transport is not None
        self._transport.write(head + _MASK + payload)
