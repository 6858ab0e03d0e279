"""What is sampled while a drill runs: whether states can be read, memory, processors."""

import asyncio
import contextlib
import time
from pathlib import Path

from devstack.drill.client import Client
from devstack.drill.receipts import Ledger
from devstack.drill.rig import GATEWAYS, Rig
from devstack.drill.timeline import Timeline

_READ_EVERY_S = 0.5
_LOOK_BACK = 50


async def read_states(client: Client, ledger: Ledger, timeline: Timeline, gateway: int) -> None:
    """Ask one gateway for the state of a recent task, again and again."""
    name = f"read from {GATEWAYS[gateway]}"
    while True:
        recent = (
            next(iter(task.ids))
            for task in reversed(ledger.tasks[-_LOOK_BACK:])
            if task.outcome == "accepted" and task.ids and task.kind != "direct"
        )
        if task_id := next(recent, None):
            answer = await client.once("GET", f"/v1/tasks/{task_id}", gateway=gateway)
            if answer.status == 200:
                timeline.events[name].append((time.time(), 1))
        await asyncio.sleep(_READ_EVERY_S)


async def sample_memory(rig: Rig, timeline: Timeline) -> None:
    """Note the resident memory of each gateway every second."""
    while True:
        for name in GATEWAYS:
            with contextlib.suppress(OSError, StopIteration):
                mib = _resident_mib(rig.parts[name].child.pid)
                timeline.rss_mib[name].append((time.time(), mib))
        await asyncio.sleep(1)


async def sample_processors(timeline: Timeline) -> None:
    """Note every second how much of this machine's processors was used."""
    idle, total = _ticks()
    while True:
        await asyncio.sleep(1)
        idle_before, total_before = idle, total
        idle, total = _ticks()
        if total > total_before:
            busy = 1 - (idle - idle_before) / (total - total_before)
            timeline.busy.append((time.time(), busy))


def _ticks() -> tuple[int, int]:
    """Idle ones and all since the start of the machine, proc_stat(5)."""
    with Path("/proc/stat").open(encoding="ascii") as lines:
        ticks = [int(word) for word in next(lines).split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


def _resident_mib(pid: int) -> float:
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    line = next(one for one in text.splitlines() if one.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024
