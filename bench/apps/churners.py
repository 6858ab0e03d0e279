"""Clients of streams that come and go, well-behaved and not.

    python -m bench.apps.churners URL LIVE_IDS ENDED_IDS CLIENTS SECONDS SILENT

So many at a time, each a WebSocket or an event stream for a moment: it reads first states, gets
changes, unsubscribes, says goodbye or vanishes (RST, at its very beginning too), and comes back
with its cursors. With SILENT 1 some stay and answer nothing until they are cut. Prints one line of
JSON.
"""

import asyncio
import json
import os
import random
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from urllib.parse import urlsplit

import uvloop

_FIRST_WITHIN_S = 30.0
_SILENT_S = 300.0
"""By then the gateway has cut who answers nothing."""
_PING, _TEXT, _CLOSE = 9, 1, 8
_MASK = b"\0\0\0\0"
_GOODBYE = b"\x88\x82" + _MASK + (1000).to_bytes(2, "big")
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER 0: closing sends RST, and nothing that was still to be sent."""


class WrongError(Exception):
    """The gateway answered what it should not."""


class Client:
    """One connection; it reads by itself."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._news = asyncio.Event()
        self._reading: asyncio.Future[None] | None = None
        self.answers = True
        self.cursors: dict[str, str | None] = {}
        """Of the last event of each task."""
        self.ended: set[str] = set()

    async def open(self, request: str, status: bytes) -> None:
        """Ask.

        Raises:
            WrongError: Refused.
        """
        self._writer.write(request.encode())
        head = await self._reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 " + status):
            raise WrongError(head.decode())
        upgraded = status == b"101"
        self._reading = asyncio.ensure_future(self._frames() if upgraded else self._lines())

    async def until_told(self, ids: Collection[str]) -> None:
        """Wait for the first state of each.

        Raises:
            TimeoutError: It did not come.
        """
        async with asyncio.timeout(_FIRST_WITHIN_S):
            while not self.cursors.keys() >= set(ids) and not self._ended():
                self._news.clear()
                await self._news.wait()

    def send(self, message: object) -> None:
        """Send a text frame."""
        payload = json.dumps(message).encode()
        size = len(payload)
        head = bytes((0x81, 0x80 | min(size, 126)))
        self._writer.write(head + (size.to_bytes(2, "big") * (size > 125)) + _MASK + payload)

    def vanish(self) -> None:
        """Go without a word."""
        found: socket.socket | None = self._writer.get_extra_info("socket")
        if found is not None and not self._writer.is_closing():
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._writer.transport.abort()

    async def goodbye(self) -> None:
        """Close as RFC 6455 has it, after unsubscribing half."""
        self.send({"op": "unsubscribe", "ids": [*self.cursors][::2]})
        self._writer.write(_GOODBYE)
        await self.done()

    async def done(self) -> None:
        """Wait for the other side's end, and go.

        Raises:
            WrongError: Something was wrong before.
            TimeoutError: It does not end.
        """
        if self._reading is not None:
            async with asyncio.timeout(_FIRST_WITHIN_S):
                await self._reading
        self._writer.close()

    def check(self) -> None:
        """Raise what was wrong, if anything.

        Raises:
            WrongError: It was.
        """
        if self._reading is not None:
            if self._ended() and not self._reading.cancelled():
                self._reading.result()
            self._reading.cancel()

    def _ended(self) -> bool:
        return self._reading is None or self._reading.done()

    async def _frames(self) -> None:
        try:
            while True:
                opcode, size = await self._reader.readexactly(2)
                if size > 125:
                    width = 2 if size == 126 else 8
                    size = int.from_bytes(await self._reader.readexactly(width), "big")
                payload = await self._reader.readexactly(size)
                opcode &= 0x0F
                if opcode == _CLOSE:
                    return
                if opcode == _PING and self.answers:
                    self._writer.write(bytes((0x8A, 0x80 | len(payload))) + _MASK + payload)
                elif opcode == _TEXT:
                    self._note(payload)
        finally:
            self._news.set()

    async def _lines(self) -> None:
        try:
            while line := await self._reader.readline():
                if line.startswith(b"data: "):
                    self._note(line[6:])
        finally:
            self._news.set()

    def _note(self, payload: bytes) -> None:
        told = json.loads(payload)
        if "code" in told or told["id"] in self.ended:
            raise WrongError(payload.decode())
        if told.get("state") == "SUCCESS":
            self.ended.add(told["id"])
        self.cursors[told["id"]] = told.get("cursor") or self.cursors.get(told["id"])
        self._news.set()


class Churn:
    """All clients of this process."""

    def __init__(self, url: str, live: list[str], ended: list[str], *, silent: bool) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._live, self._ended = live, ended
        self._silent = silent
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []

    async def keep_coming(self, until: float) -> None:
        """One life after another."""
        while time.monotonic() < until:
            life = self._sockets if _chance(0.7) else self._event_streams
            try:
                await life()
            except (WrongError, OSError, asyncio.IncompleteReadError, TimeoutError) as error:
                self.counts["wrong"] += 1
                self.wrong.append(f"{life.__name__}: {error!r}"[:300])
                await asyncio.sleep(0.1)

    async def _sockets(self) -> None:
        """A WebSocket, and another one that begins where it ended."""
        ids = random.sample(self._live, random.randint(1, 20))
        ids += random.sample(self._ended, random.randint(0, 2))
        known = await self._socket(f"?ids={','.join(ids)}", ids, None)
        if known and _chance(0.5):
            self.counts["resumed"] += 1
            await self._socket("", (), known)

    async def _socket(
        self, query: str, ids: Collection[str], known: dict[str, str | None] | None
    ) -> dict[str, str | None]:
        self.counts["sockets"] += 1
        client = await self._connect()
        head = self._head(f"/v1/stream{query}") + (
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )

        async def begin() -> None:
            await client.open(head, b"101")
            if known:
                client.send({"op": "subscribe", "tasks": known})

        await self._live_on(client, begin, ids, client.goodbye)
        return {i: cursor for i, cursor in client.cursors.items() if i not in client.ended}

    async def _event_streams(self) -> None:
        """An event stream, and another one that begins where it ended."""
        task_id = random.choice(self._ended if _chance(0.2) else self._live)
        cursor = ""
        for _ in range(2):
            self.counts["event_streams"] += 1
            client = await self._connect()
            resume = f"Last-Event-ID: {cursor}\r\n" if cursor else ""
            head = self._head(f"/v1/tasks/{task_id}/stream") + f"{resume}\r\n"

            async def begin(client: Client = client, head: str = head) -> None:
                await client.open(head, b"200")

            async def go(client: Client = client) -> None:
                client.vanish()

            await self._live_on(client, begin, () if cursor else (task_id,), go)
            cursor = client.cursors.get(task_id) or ""
            if task_id in client.ended or not cursor or _chance(0.5):
                return
            self.counts["resumed"] += 1

    async def _live_on(
        self,
        client: Client,
        begin: Callable[[], Awaitable[None]],
        ids: Collection[str],
        go: Callable[[], Awaitable[None]],
    ) -> None:
        """Be told what is first and some of what is next; go, in one way or another."""
        try:
            if _chance(0.3):  # in a hurry: gone before it is served, or right in the middle
                self.counts["hurried"] += 1
                beginning = asyncio.ensure_future(begin())
                await asyncio.wait({beginning}, timeout=random.expovariate(50))
                beginning.cancel()
                await asyncio.wait({beginning})
                client.vanish()
                return
            await begin()
            await client.until_told(ids)
            await asyncio.sleep(random.uniform(0, 2))
            if self._silent and _chance(0.01):
                self.counts["silent"] += 1
                client.answers = False
                asyncio.get_running_loop().call_later(_SILENT_S, client.vanish)
            elif _chance(0.5):
                client.vanish()
            else:
                await go()
        finally:
            if client.answers:
                client.vanish()
                client.check()
            self.counts["told"] += len(client.cursors)

    async def _connect(self) -> Client:
        return Client(*await asyncio.open_connection(self._host, self._port))

    def _head(self, path: str) -> str:
        return (
            f"GET {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n"
            f"Authorization: Bearer {os.environ['API_KEY']}\r\n"
        )


def _chance(share: float) -> bool:
    return random.random() < share


async def main() -> None:
    url, live, ended, clients, seconds, silent = sys.argv[1:]
    ids = [(await asyncio.to_thread(Path(file).read_text)).split() for file in (live, ended)]
    churn = Churn(url, *ids, silent=silent == "1")
    until = time.monotonic() + float(seconds)
    async with asyncio.TaskGroup() as group:
        for _ in range(int(clients)):
            group.create_task(churn.keep_coming(until))
    print(json.dumps({**churn.counts, "samples": churn.wrong[:5]}), flush=True)
    os._exit(0)  # sockets that fell silent are reset by the system


if __name__ == "__main__":
    uvloop.run(main())
