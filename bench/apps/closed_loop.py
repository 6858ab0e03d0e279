"""Clients that each submit a task, wait for its end, and submit the next, for some seconds.

    python -m bench.apps.closed_loop KIND URL CLIENTS WARM_UP_S SECONDS

KIND is `penstock` (a POST to the gateway; the ends of all come on one WebSocket) or `poll` (a POST
to `/add`, then GET `/tasks/<id>` twice a second). Prints one line of JSON: the rate after the
warm-up, and how many tasks there were with it.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable

import uvloop

from bench.apps.ends_socket import EndsSocket
from bench.apps.poster import Target, answer
from bench.figures import percentile

_POLL_EVERY_S = 0.5
End = Callable[[asyncio.StreamReader, asyncio.StreamWriter, str], Awaitable[bytes]]
"""Wait for the end of a task, with a connection that may be used; the final state, or its text."""


class Clients:
    """All clients of this process, each with a connection of its own."""

    def __init__(self, target: Target, body: bytes, end: End) -> None:
        self._target = target
        self._request = f"{target.head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        self._end = end
        self.took_ms: list[float] = []
        """From each submit to its end."""

    async def run(self, until: float) -> None:
        """Be one of them.

        Raises:
            RuntimeError: A submit was refused, or a task failed.
        """
        reader, writer = await asyncio.open_connection(self._target.host, self._target.port)
        while (started := time.monotonic()) < until:
            writer.write(self._request)
            status, told = await answer(reader)
            if status != 202:
                raise RuntimeError(told.decode())
            state = await self._end(reader, writer, json.loads(told)["id"])
            if b"SUCCESS" not in state:
                raise RuntimeError(state.decode())
            self.took_ms.append((time.monotonic() - started) * 1e3)
        writer.close()


async def pushed(url: str) -> End:
    """Ends from one WebSocket."""
    socket = await EndsSocket.open(url)

    async def end(_reader: object, _writer: object, task_id: str) -> bytes:
        return await socket.end(task_id)

    return end


def polled(target: Target) -> End:
    """Ends by asking twice a second."""

    async def end(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, task_id: str
    ) -> bytes:
        request = f"GET /tasks/{task_id} HTTP/1.1\r\nHost: {target.host}:{target.port}\r\n\r\n"
        while True:
            await asyncio.sleep(_POLL_EVERY_S)
            writer.write(request.encode())
            _, told = await answer(reader)
            if json.loads(told)["state"] not in {"PENDING", "STARTED"}:
                return told

    return end


async def main() -> None:
    kind, url, *numbers = sys.argv[1:]
    count, warm_up_s, seconds = int(numbers[0]), float(numbers[1]), float(numbers[2])
    if kind == "penstock":
        target = Target(f"{url}/v1/tasks", "application/json")
        body, end = b'{"task": "demo.plus", "args": [2, 3]}', await pushed(url)
    else:
        target = Target(f"{url}/add", "application/json")
        body, end = b'{"x": 2, "y": 3}', polled(target)
    clients = Clients(target, body, end)
    warm = time.monotonic() + warm_up_s
    running = [asyncio.create_task(clients.run(warm + seconds)) for _ in range(count)]
    await asyncio.sleep(warm_up_s)
    before, began = len(clients.took_ms), time.monotonic()
    await asyncio.sleep(seconds)
    took, elapsed = clients.took_ms[before:], time.monotonic() - began
    await asyncio.gather(*running)
    ordered = sorted(took)
    print(
        json.dumps(
            {
                "tasks": len(clients.took_ms),
                "rate": len(took) / elapsed,
                "p50_ms": percentile(ordered, 0.5),
                "p99_ms": percentile(ordered, 0.99),
            }
        )
    )


if __name__ == "__main__":
    uvloop.run(main())
