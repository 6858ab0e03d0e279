"""A client that submits one task after another and waits for the result of each.

    python -m bench.apps.one_by_one penstock URL COUNT
    python -m bench.apps.one_by_one celery - COUNT

`penstock`: a POST to the gateway, and the end from one WebSocket that is open all the time.
`celery`: `.delay()` and `.get()`, without HTTP. Prints one line of JSON: milliseconds of each.
"""

import asyncio
import json
import sys
import time

import uvloop

from bench.apps.ends_socket import EndsSocket
from bench.apps.poster import Target, answer
from bench.apps.stock_worker import plus

_WARM_UP = 30


async def through_penstock(url: str, count: int) -> list[float]:
    body = json.dumps({"task": "demo.plus", "args": [2, 3]}).encode()
    target = Target(f"{url}/v1/tasks", "application/json")
    request = f"{target.head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    socket = await EndsSocket.open(url)
    reader, writer = await asyncio.open_connection(target.host, target.port)
    took = []
    for _ in range(count):
        started = time.perf_counter()
        writer.write(request)
        status, told = await answer(reader)
        if status != 202:
            raise RuntimeError(told.decode())
        state = await socket.end(json.loads(told)["id"])
        took.append((time.perf_counter() - started) * 1e3)
        if state != b"SUCCESS":
            raise RuntimeError(state.decode())
    writer.close()
    return took


def through_celery(count: int) -> list[float]:
    took = []
    for _ in range(count):
        started = time.perf_counter()
        plus.delay(2, 3).get(timeout=30)
        took.append((time.perf_counter() - started) * 1e3)
    return took


def main() -> None:
    kind, url, count = sys.argv[1:]
    wanted = int(count) + _WARM_UP
    if kind == "penstock":
        took = uvloop.run(through_penstock(url, wanted))
    else:
        took = through_celery(wanted)
    print(json.dumps(took[_WARM_UP:]))


if __name__ == "__main__":
    main()
