"""An HTTP client that costs little: the same body again and again, or one endless stream.

    python -m bench.apps.poster loop   URL FILE CONTENT_TYPE SECONDS CONNECTIONS
    python -m bench.apps.poster stream URL FILE CONTENT_TYPE SECONDS BYTES

`loop` posts the file over that many kept-alive connections; `stream` sends it over and over as one
chunked body, for so long or so many bytes. Prints one line of JSON. API_KEY is sent as the bearer.
"""

import asyncio
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import uvloop

_CHUNK = 256 * 1024


class Target:
    """Where and how to post."""

    def __init__(self, url: str, content_type: str) -> None:
        parts = urlsplit(url)
        self.host, self.port = parts.hostname or "127.0.0.1", parts.port or 80
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        self.head = (
            f"POST {path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\n"
            f"Authorization: Bearer {os.environ['API_KEY']}\r\nContent-Type: {content_type}\r\n"
        )


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Read one answer: its status and its body."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    status = int(head.split(" ", 2)[1])
    if "transfer-encoding: chunked" in head:
        parts = []
        while size := int((await reader.readline()).split(b";")[0], 16):
            parts.append((await reader.readexactly(size + 2))[:-2])
        await reader.readline()
        return status, b"".join(parts)
    length = int(head.split("content-length:")[1].split("\r\n")[0])
    return status, await reader.readexactly(length)


async def loop(target: Target, body: bytes, seconds: float, connections: int) -> dict[str, object]:
    request = f"{target.head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    statuses: Counter[int] = Counter()
    sums: Counter[str] = Counter()
    sample = ""
    end = time.monotonic() + seconds

    async def post() -> None:
        nonlocal sample
        reader, writer = await asyncio.open_connection(target.host, target.port)
        while time.monotonic() < end:
            writer.write(request)
            await writer.drain()
            status, told = await answer(reader)
            statuses[status] += 1
            if status < 300:
                members = json.loads(told)
                for name in ("accepted", "stored", "duplicates"):
                    sums[name] += members.get(name, 0)
            else:
                sample = told.decode(errors="replace")[:500]
                await asyncio.sleep(0.1)  # as Retry-After asks, a little bolder
        writer.close()

    started = time.monotonic()
    await asyncio.gather(*(post() for _ in range(connections)))
    return {
        "statuses": {str(status): count for status, count in statuses.items()},
        "seconds": time.monotonic() - started,
        "refusal": sample,
        **sums,
    }


async def stream(target: Target, body: bytes, seconds: float, size: int) -> dict[str, object]:
    reader, writer = await asyncio.open_connection(target.host, target.port)
    writer.write(f"{target.head}Transfer-Encoding: chunked\r\n\r\n".encode())
    answered = asyncio.create_task(answer(reader))
    block = body * max(1, _CHUNK // len(body))
    chunk = f"{len(block):x}\r\n".encode() + block + b"\r\n"
    started, sent = time.monotonic(), 0
    while sent < size and time.monotonic() - started < seconds and not answered.done():
        writer.write(chunk)
        await writer.drain()
        sent += len(block)
    if not answered.done():
        writer.write(b"0\r\n\r\n")
    status, told = await answered
    elapsed = time.monotonic() - started
    writer.close()
    last = told.strip().rsplit(b"\n", 1)[-1]
    return {
        "status": status,
        "bytes": sent,
        "lines": sent // len(block) * block.count(b"\n"),
        "seconds": elapsed,
        "answer": json.loads(last),
    }


async def main() -> None:
    mode, url, file, content_type, seconds, amount = sys.argv[1:]
    target = Target(url, content_type)
    body = await asyncio.to_thread(Path(file).read_bytes)
    if mode == "loop":
        told = await loop(target, body, float(seconds), int(amount))
    else:
        told = await stream(target, body, float(seconds), int(amount))
    print(json.dumps(told))


if __name__ == "__main__":
    uvloop.run(main())
