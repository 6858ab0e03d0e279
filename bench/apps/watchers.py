"""Many clients that watch one task each, as cheap as can be: what they measure is the server.

    python -m bench.apps.watchers KIND URL IDS_FILE TIMEOUT_S

KIND is `penstock` (WebSocket), `celery-fastapi` (its WebSocket) or `poll` (GET twice a second).
Prints `READY` once every client has its first answer, and one line of JSON at the end: when every
task was told as SUCCESS, on SIGTERM, or at the timeout.
"""

import asyncio
import json
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import uvloop

from bench.figures import percentile

_STAMP = re.compile(rb"t=(\d+);")
_OPENING_AT_ONCE = 100
_POLL_EVERY_S = 0.5
_READY_WITHIN_S = 60.0
_PING, _TEXT, _CLOSE = 9, 1, 8
_MASK = b"\0\0\0\0"


class Tally:
    """What all clients of this process were told."""

    def __init__(self, expected: int) -> None:
        self.expected = expected
        self.first: set[str] = set()
        self.finals: dict[str, int] = {}
        self.latencies_ms: list[float] = []
        self.final_latencies_ms: list[float] = []
        self.gaps = 0
        self.errors = 0
        self.closed_early = 0
        self.sample = ""
        self.ready = asyncio.Event()
        self.done = asyncio.Event()
        self._stamps: dict[str, bytes] = {}

    def hear(self, task_id: str, told: bytes) -> bool:
        """Count what a client was told; whether it was the end of its task."""
        now = time.monotonic_ns()
        stamp = _STAMP.search(told)
        final = b'"SUCCESS"' in told
        if stamp and self._stamps.get(task_id) != stamp[1]:
            self._stamps[task_id] = stamp[1]
            latency_ms = (now - int(stamp[1])) / 1e6
            self.latencies_ms.append(latency_ms)
            if final:
                self.final_latencies_ms.append(latency_ms)
        if b'"gap"' in told:
            self.gaps += 1
        elif b'"error"' in told and b'"code"' in told:
            self.errors += 1
            self.sample = told.decode(errors="replace")[:300]
        self.first.add(task_id)
        if len(self.first) >= self.expected:
            self.ready.set()
        if final:
            self.finals[task_id] = self.finals.get(task_id, 0) + 1
            if len(self.finals) >= self.expected:
                self.done.set()
        return final

    def told(self) -> dict[str, object]:
        """The outcome."""
        latencies, finals = sorted(self.latencies_ms), sorted(self.final_latencies_ms)
        return {
            "clients": self.expected,
            "changes": len(latencies),
            "finals": len(self.finals),
            "missing": self.expected - len(self.finals),
            "twice": sum(count > 1 for count in self.finals.values()),
            "gaps": self.gaps,
            "errors": self.errors,
            "closed_early": self.closed_early,
            "sample": self.sample,
            **_percentiles("", latencies),
            **_percentiles("final_", finals),
        }


def _percentiles(prefix: str, ordered: list[float]) -> dict[str, float]:
    if not ordered:
        return {}
    return {
        f"{prefix}p50_ms": percentile(ordered, 0.5),
        f"{prefix}p99_ms": percentile(ordered, 0.99),
        f"{prefix}max_ms": ordered[-1],
    }


class WebSocketClient(asyncio.Protocol):
    """One client: handshake, frames in (RFC 6455, unmasked and whole), pongs out."""

    def __init__(self, task_id: str, request: bytes, tally: Tally) -> None:
        self._task_id = task_id
        self._request = request
        self._tally = tally
        self._buffer = b""
        self._upgraded = False
        self._ended = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none of asyncio's
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        if not self._upgraded:
            head, ended, rest = buffer.partition(b"\r\n\r\n")
            if not ended:
                self._buffer = buffer
                return
            if b" 101 " not in head[:20]:
                self._tally.errors += 1
                self._tally.sample = (head + rest).decode(errors="replace")[:300]
                return
            self._upgraded, buffer = True, rest
        at = 0
        while (found := frame(buffer, at)) is not None:
            opcode, start, at = found
            payload = buffer[start:at]
            if opcode == _TEXT:
                self._ended = self._tally.hear(self._task_id, payload) or self._ended
            elif opcode == _PING and self._transport is not None:
                self._transport.write(bytes((0x8A, 0x80 | len(payload))) + _MASK + payload)
            elif opcode == _CLOSE and self._transport is not None:
                self._transport.close()
        self._buffer = buffer[at:]

    def connection_lost(self, _error: Exception | None) -> None:
        if not self._ended:
            self._tally.closed_early += 1


def frame(buffer: bytes, at: int) -> tuple[int, int, int] | None:
    """Opcode, start and end of the payload of a whole frame; None when it is not all there."""
    if len(buffer) - at < 2:
        return None
    opcode, size = buffer[at] & 0x0F, buffer[at + 1] & 0x7F
    start = at + 2
    if size > 125:
        width = 2 if size == 126 else 8
        if len(buffer) - start < width:
            return None
        size = int.from_bytes(buffer[start : start + width], "big")
        start += width
    return None if len(buffer) - start < size else (opcode, start, start + size)


class Watchers:
    """All clients of this process."""

    def __init__(self, kind: str, url: str, ids: list[str]) -> None:
        self._kind = kind
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._ids = ids
        self.tally = Tally(len(ids))
        self._opening = asyncio.Semaphore(_OPENING_AT_ONCE)
        self.tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        watch = self._poll if self._kind == "poll" else self._socket
        self.tasks = [asyncio.create_task(watch(task_id)) for task_id in self._ids]

    def _head(self, path: str) -> str:
        return (
            f"GET {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n"
            f"Authorization: Bearer {os.environ['API_KEY']}\r\n"
        )

    async def _socket(self, task_id: str) -> None:
        penstock = self._kind == "penstock"
        path = f"/v1/stream?ids={task_id}" if penstock else f"/tasks/{task_id}/ws"
        request = self._head(path) + (
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        )
        if penstock:
            request += "Sec-WebSocket-Protocol: penstock.v1\r\n"
        async with self._opening:
            await asyncio.get_running_loop().create_connection(
                lambda: WebSocketClient(task_id, f"{request}\r\n".encode(), self.tally),
                self._host,
                self._port,
            )
            await asyncio.sleep(0)

    async def _poll(self, task_id: str) -> None:
        request = f"{self._head(f'/tasks/{task_id}')}\r\n".encode()
        async with self._opening:
            reader, writer = await asyncio.open_connection(self._host, self._port)
        while True:
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
            if self.tally.hear(task_id, await reader.readexactly(length)):
                writer.close()
                return
            await asyncio.sleep(_POLL_EVERY_S)


async def main() -> None:
    kind, url, file, timeout_s = sys.argv[1:]
    ids = (await asyncio.to_thread(Path(file).read_text)).split()
    watchers = Watchers(kind, url, ids)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, watchers.tally.done.set)
    started = time.monotonic()
    watchers.start()
    ready = asyncio.create_task(watchers.tally.ready.wait())
    done = asyncio.create_task(watchers.tally.done.wait())
    await asyncio.wait({ready}, timeout=_READY_WITHIN_S)
    opened_s = time.monotonic() - started
    tally = watchers.tally
    if not tally.ready.is_set():
        print(f"only {len(tally.first)} clients were answered. {tally.sample!r}", flush=True)
        os._exit(1)
    print("READY", flush=True)
    await asyncio.wait({done}, timeout=float(timeout_s))
    await asyncio.sleep(0.5)  # what comes after the end would be a second final state
    print(json.dumps(watchers.tally.told() | {"opened_s": opened_s}), flush=True)
    os._exit(0)


if __name__ == "__main__":
    uvloop.run(main())
