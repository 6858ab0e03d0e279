"""What a request costs the loop's thread: processor time, not time, and as a ratio to a yardstick.

The client is another thread with a blocking socket, so that the loop's thread does the gateway's
work and nothing else. A slow or busy machine slows the yardstick as well.
"""

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import orjson

MIB = 1 << 20
YARDSTICK_MS = 5.0
"""What the yardstick takes on the machine that the bounds in milliseconds are meant for."""
_ORDINARY = b'{"id":123,"name":"someone","tags":["a","b"],"at":"2026-01-01T00:00:00Z"}'
_ROW = b",".join([_ORDINARY] * 40)


def yardstick() -> float:
    """Processor seconds of parsing 1 MiB of ordinary documents with orjson: the least of a few."""
    body = b"[" + b",".join([_ROW] * (MIB // len(_ROW))) + b"]"

    def once() -> float:
        started = time.thread_time()
        orjson.loads(body)
        return time.thread_time() - started

    return min(once() for _ in range(5))


@dataclass(frozen=True)
class Exchange:
    """One request and what came of it."""

    cpu_s: float
    """Of the loop's thread."""
    status: int
    """0: the connection was cut."""
    answer: bytes

    def counts(self) -> tuple[int, int]:
        """How many documents or tasks were accepted, and how many lines refused."""
        try:
            last = json.loads(self.answer.splitlines()[-1])
        except (ValueError, IndexError):
            return 0, 0
        if isinstance(last, list):
            good = sum(one["status"] == 202 for one in last)
            return good, len(last) - good
        last = last.get("summary", last)
        refused = last.get("rejected_count", last.get("rejected", len(last.get("errors", ()))))
        accepted = last.get("accepted", int(self.status == 202))
        refused = len(refused) if isinstance(refused, list) else refused
        return accepted + last.get("refused", 0) + last.get("unknown", 0), refused


async def exchange(port: int, request: bytes) -> Exchange:
    """Send a request that says `Connection: close`, and read its answer."""
    started = time.thread_time()
    received = await asyncio.to_thread(_talk, port, request)
    cpu_s = time.thread_time() - started
    head, _, answer = received.partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" in head.lower():
        answer = b"".join(_chunks(answer))
    status = int(head.split()[1]) if head else 0
    return Exchange(cpu_s, status, answer)


def _chunks(body: bytes) -> Iterator[bytes]:
    at = 0
    while True:
        line = body.find(b"\r\n", at)
        size = int(body[at:line] or b"0", 16)
        if not size:
            return
        yield body[line + 2 : line + 2 + size]
        at = line + 4 + size


def _talk(port: int, request: bytes) -> bytes:
    received = bytearray()
    with socket.create_connection(("127.0.0.1", port), timeout=120) as client:
        with contextlib.suppress(ConnectionError):
            client.sendall(request)
        with contextlib.suppress(ConnectionError):
            while data := client.recv(1 << 18):
                received += data
    return bytes(received)


class LongestTurn:
    """Measures the longest turn of the loop: what anything else has to wait for."""

    def __init__(self) -> None:
        self.cpu_s = 0.0
        self._last = 0.0
        self._handle: asyncio.Handle | None = None

    def __enter__(self) -> Self:
        self._last = time.thread_time()
        self._tick()
        return self

    def __exit__(self, *_: object) -> None:
        if self._handle is not None:
            self._handle.cancel()

    def _tick(self) -> None:
        now = time.thread_time()
        self.cpu_s = max(self.cpu_s, now - self._last)
        self._last = now
        self._handle = asyncio.get_running_loop().call_soon(self._tick)
