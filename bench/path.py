"""The places that one submit and one document visit in the gateway: how much its code zigzags.

A *place* is a module of ours. One request is sent to a gateway on real servers whose calls are seen
by `sys.setprofile`; of the functions that it enters, in order, each whose module is another than
that of the function entered before is a *change*. A change to a module that was visited before is a
*return*: changes are places plus returns. Returning from a function is no change, and neither is
going on after an await. What runs by itself (background loops) is left out; confirms, timers and
whatever else a request sets off are not. The caches are warm, as they are in production.

    python -m bench path [--tree CHECKOUT]
"""

import asyncio
import contextlib
import json
import os
import re
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from redis.asyncio import Redis

from bench.report import Context, Report
from bench.servers import Servers
from devstack.ports import free_port
from devstack.product import ROOT
from penstock.wire.announcements import WORKERS_KEY, WorkerRecord
from tasks.registry import TASKS

_REQUESTS = {
    "submit": ("/v1/tasks", {"task": "demo.add", "args": [1, 2]}),
    "document": ("/v1/ingest/weather", {"city": "Oslo", "t": 3}),
}
_WARM_UP = 5
_START_TRIES = 300
_REPEATS = 7
"""The path that most of them take is shown: now and then a timer of the gateway falls in one."""


@dataclass(frozen=True, slots=True)
class Walk:
    """Of one request."""

    tree: str
    request: str
    places: tuple[str, ...]
    """The module of each change."""

    @property
    def returns(self) -> int:
        """How many changes lead to a module that was visited before."""
        return len(self.places) - len(set(self.places))


async def compare(context: Context) -> Report:
    """Walk the requests through every tree.

    Raises:
        OSError, TimeoutError: A gateway did not start.
    """
    trees = {"this": ROOT}
    if context.plan.tree is not None:
        trees = {"other": context.plan.tree, **trees}
    walks = []
    await _announce_worker(context.servers)
    for name, root in trees.items():
        async with _probed(context.servers, root) as gateway:
            for request in _REQUESTS:
                found = Counter([await gateway.walk(request) for _ in range(_REPEATS)])
                walks.append(Walk(name, request, found.most_common(1)[0][0]))
    await context.servers.purge(("mongo_queue", "default"))
    return Report(name="path", data=walks, text="\n\n".join(map(_shown, walks)))


async def _announce_worker(servers: Servers) -> None:
    """Let there be a worker that has every task, as far as a gateway can see."""
    record = WorkerRecord(
        worker="path@bench",
        start="1",
        queues=tuple(servers.topology.queues),
        tasks=tuple(spec.name for spec in TASKS),
        seen=time.time(),
    )
    async with Redis.from_url(servers.redis.url) as client:
        await client.hset(WORKERS_KEY, record.field, record.encode())


def _shown(walk: Walk) -> str:
    seen: set[str] = set()
    lines = []
    for place in walk.places:
        lines.append(f"  {'again ' if place in seen else '      '}{place}")
        seen.add(place)
    count = f"{len(walk.places)} changes, {len(seen)} places, {walk.returns} returns"
    return "\n".join((f"{walk.request}, {walk.tree} tree: {count}", *lines))


class _Gateway:
    """A gateway that is watched.

    Args:
        port: Where it listens.
        process: Takes `begin` and `end`.
    """

    def __init__(self, port: int, process: asyncio.subprocess.Process) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._process = process

    async def ready(self) -> None:
        """Wait until it takes submits, then warm its caches."""
        for _ in range(_START_TRIES):
            if await self._status("GET", "/readyz") == 200:
                break
            await asyncio.sleep(0.2)
        for request in _REQUESTS:
            for _ in range(_WARM_UP):
                await self.walk(request)

    async def walk(self, name: str) -> tuple[str, ...]:
        """Send a request; the module of each change."""
        await self._ask("begin")
        path, body = _REQUESTS[name]
        status = await self._status("POST", path, json.dumps(body))
        if status != 202:
            raise OSError(f"{path} was answered {status}")
        entered: Sequence[str] = json.loads(await self._ask("end"))
        return tuple(place for place, _ in groupby(entered))

    async def _status(self, method: str, path: str, body: str = "") -> int:
        """Send a request in one write, so that its body comes with its headers; 0: in vain."""
        kind = "Content-Type: application/json\r\n" if body else ""
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{kind}"
        try:
            if self._streams is None:
                self._streams = await asyncio.open_connection("127.0.0.1", self._port)
            reader, writer = self._streams
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
            answer = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"\r\nContent-Length: (\d+)", answer, re.IGNORECASE)
            await reader.readexactly(int(length[1]) if length else 0)
        except (OSError, asyncio.IncompleteReadError):
            self._streams = None
            return 0
        return int(answer.split()[1])

    async def _ask(self, word: str) -> bytes:
        process = self._process
        if process.stdin is None or process.stdout is None:
            raise OSError("it has no pipes")
        process.stdin.write(f"{word}\n".encode())
        return await process.stdout.readline()


@contextlib.asynccontextmanager
async def _probed(servers: Servers, root: Path) -> AsyncIterator[_Gateway]:
    """Start a watched gateway of a checkout, ready; end it afterwards."""
    port = free_port()
    probe = Path(__file__).parent / "apps" / "path_probe.py"
    env = {**os.environ, **servers.env, "PYTHONPATH": str(root), "GATEWAY_PORT": str(port)}
    env |= {"GATEWAY_HOST": "127.0.0.1", "TASK_ID_KEYS": f"1:{'ab' * 32}"}
    with (servers.folder / "path.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, probe, cwd=root, env=env, stderr=log,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
    try:
        gateway = _Gateway(port, process)
        await gateway.ready()
        yield gateway
    finally:
        process.kill()
        await process.wait()
