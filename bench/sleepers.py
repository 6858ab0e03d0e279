"""10,000 coroutines that sleep at once in one worker: how long all of them take, and its memory."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import redis.asyncio

from bench import table
from bench.draining import ended, fill, forget, records
from bench.figures import Figure
from bench.goals import Goal
from bench.pools import working
from bench.report import Context, Report
from bench.servers import Servers
from bench.usage import peak_rss_bytes, rss_bytes
from bench.workers import OURS

SLEEPERS = 10_000
_SLEEP_S = 5.0
_MB = 1_000_000
_POOL = replace(OURS, name="sleepers", concurrency=SLEEPERS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Night:
    """One round."""

    seconds: float
    """From the first message's publish to the end of the last task."""
    at_once: float
    """Most coroutines that slept together."""
    idle_mb: float
    """Resident memory of the worker before."""
    peak_mb: float
    """The highest since its start."""


async def compare(context: Context) -> Report:
    """Give a worker that waits all tasks at once.

    Raises:
        StartError: Something failed.
    """
    rounds: list[Night] = []
    for number in range(context.plan.rounds):
        rounds.append(await _night(context.servers))
        one = rounds[-1]
        context.tell(
            f"sleepers {number + 1}/{context.plan.rounds}  {one.at_once:,.0f} at once, "
            f"{one.seconds:.2f} s, {one.idle_mb:.0f} → {one.peak_mb:.0f} MB"
        )
    at_once = Figure.of(one.at_once for one in rounds)
    seconds = Figure.of(one.seconds for one in rounds)
    peak = Figure.of(one.peak_mb for one in rounds)
    rows = [
        ("most at once", at_once.told()),
        ("seconds in all", seconds.told(2)),
        ("RSS before, MB", Figure.of(one.idle_mb for one in rounds).told()),
        ("RSS at most, MB", peak.told()),
    ]
    what = f"{SLEEPERS:,} tasks that sleep {_SLEEP_S:g} s"
    return Report(
        name="sleepers",
        data=rounds,
        text=table.rows((what, ""), rows),
        goals=[
            Goal(what=f"{what}, most at once", least=SLEEPERS, aim=SLEEPERS, unit="",
                 measured=at_once),
            Goal(what=f"{what}, in all", most=8, aim=8, unit="s", measured=seconds),
            Goal(what=f"{what}, RSS at most", most=150, aim=150, unit="MB", measured=peak),
        ],
    )  # fmt: skip


async def _night(servers: Servers) -> Night:
    async with working(servers, _POOL) as worker:
        idle = rss_bytes(worker.child.pid)
        filled = await fill(servers, [{"task": "demo.nap", "args": [_SLEEP_S]}], SLEEPERS)
        await ended(servers, {"SUCCESS": SLEEPERS})
        peak = peak_rss_bytes(worker.child.pid)
    async with redis.asyncio.Redis.from_url(servers.redis.url) as client:
        found = await records(client)
    await forget(servers)
    return Night(
        seconds=max(_ended_at(record) for record in found) - filled["started"],
        at_once=max(record["result"] for record in found),
        idle_mb=idle / _MB,
        peak_mb=peak / _MB,
    )


def _ended_at(record: Mapping[str, Any]) -> float:
    return datetime.fromisoformat(record["date_done"]).timestamp()
