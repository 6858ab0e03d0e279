"""What hostile bodies cost a gateway: CPU, the longest wait, memory; beside another checkout."""

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench import table
from bench.contestants import API_KEY, FULL
from bench.hostile import BODIES, MIB, Hostile
from bench.processes import Running
from bench.report import Context, Report
from bench.servers import Servers
from bench.usage import rss_bytes
from devstack.product import ROOT

_BODY_BYTES = MIB
_PROBE = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
_LONGEST_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of one request."""

    body: str
    tree: str
    cpu_ms: float
    """Processor time of the gateway, for about 1 MiB of body (or of gzip that holds nothing)."""
    slice_ms: float
    """Most processor time of the gateway while one /healthz waited for its answer: that takes three
    turns of the loop, so three slices, and the machine's other work does not count."""
    wait_ms: float
    """The longest that one /healthz waited, whatever the machine did meanwhile."""
    grown_mib: float
    """Resident memory at the end above that at the beginning."""
    status: str


async def compare(context: Context) -> Report:
    """Send every body to every tree, in turns.

    Raises:
        StartError: A gateway did not start.
    """
    trees = {"this": ROOT}
    if context.plan.tree is not None:
        trees = {"other": context.plan.tree, **trees}
    costs: list[Cost] = []
    async with contextlib.AsyncExitStack() as stack:
        gateways = {
            name: await stack.enter_async_context(_serving(context.servers, root))
            for name, root in trees.items()
        }
        for _ in range(context.plan.rounds):
            for name, make in BODIES.items():
                hostile = make(_BODY_BYTES)
                for tree, gateway in gateways.items():
                    costs.append(await _cost(gateway, tree, name, hostile))
                    context.tell(f"{name}, {tree}: {costs[-1].cpu_ms:.0f} ms")
    await context.servers.purge(("mongo_queue", "default"))
    return Report(name="hostile-bodies", data=costs, text=_table(costs, list(trees)))


def _table(costs: list[Cost], trees: list[str]) -> str:
    found: dict[tuple[str, str], list[Cost]] = defaultdict(list)
    for cost in costs:
        found[cost.body, cost.tree].append(cost)
    rows = []
    for name in BODIES:
        cells = []
        for tree in trees:
            ones = found[name, tree]
            cells += [
                f"{median(one.cpu_ms for one in ones):,.0f}",
                f"{median(one.slice_ms for one in ones):,.0f}",
                f"{median(one.wait_ms for one in ones):,.0f}",
                f"{max(one.grown_mib for one in ones):,.0f}",
                ones[-1].status,
            ]
        rows.append((name, *cells))
    heads = [
        f"{what}, {tree}"
        for tree in trees
        for what in ("CPU ms", "slice ms", "wait ms", "MiB", "status")
    ]
    return table.rows(("1 MiB of", *heads), rows)


@contextlib.asynccontextmanager
async def _serving(servers: Servers, root: Path) -> AsyncIterator[Running]:
    [contestant] = [one for one in FULL if one.kind == "gateway"][:1]
    running = Running(contestant, servers, root=root)
    await running.process.start()
    try:
        yield running
    finally:
        await running.process.stop()


async def _cost(gateway: Running, tree: str, name: str, hostile: Hostile) -> Cost:
    port = int(gateway.url.rpartition(":")[2])
    request = hostile.request(API_KEY)
    await asyncio.sleep(0.2)  # what the last request left behind has ended
    memory, before = rss_bytes(gateway.pid), _cpu_ns(gateway.pid)
    probing = asyncio.create_task(_probe(port, gateway.pid), name="probe")
    status = await _send(port, request)
    # A gateway may go on when it has answered, or refused to.
    while True:
        used = _cpu_ns(gateway.pid)
        await asyncio.sleep(0.1)
        if _cpu_ns(gateway.pid) - used < 20_000_000:
            break
    probing.cancel()
    waits = await probing
    probe_ns = 150_000
    return Cost(
        body=name,
        tree=tree,
        cpu_ms=max(0, used - before - waits.count * probe_ns) / 1e6,
        slice_ms=waits.cpu_ns / 1e6,
        wait_ms=waits.ns / 1e6,
        grown_mib=(rss_bytes(gateway.pid) - memory) / MIB,
        status=status,
    )


async def _send(port: int, request: bytes) -> str:
    """Send a request; the status of the answer, or what was seen in its place."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(_LONGEST_S):
            sending = asyncio.create_task(_write(writer, request), name="write")
            line = await reader.readline()
            while await reader.read(MIB):
                pass
            await sending
    except TimeoutError:
        return "none"
    except ConnectionError:
        return "reset"
    finally:
        writer.transport.abort()
    return line.split()[1].decode() if line else "cut"


async def _write(writer: asyncio.StreamWriter, request: bytes) -> None:
    with contextlib.suppress(ConnectionError):
        writer.write(request)
        await writer.drain()


@dataclass(slots=True)
class _Waits:
    """Of /healthz."""

    count: int = 0
    cpu_ns: int = 0
    """Most processor time during one of them."""
    ns: int = 0
    """The longest."""


async def _probe(port: int, pid: int) -> _Waits:
    """Ask /healthz all the time until cancelled."""
    waits = _Waits()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        while True:
            before, began = _cpu_ns(pid), time.perf_counter_ns()
            writer.write(_PROBE)
            await reader.readuntil(b"\r\n\r\n")
            waits.ns = max(waits.ns, time.perf_counter_ns() - began)
            waits.cpu_ns = max(waits.cpu_ns, _cpu_ns(pid) - before)
            waits.count += 1
            await asyncio.sleep(0.005)
            if reader.at_eof():
                break
    except (asyncio.CancelledError, ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()
    return waits


def _cpu_ns(pid: int) -> int:
    """Processor time of all threads, to the nanosecond where the kernel keeps it."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            total += int((task / "schedstat").read_text().split()[0])
    return total
