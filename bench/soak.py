"""Millions of tasks through one asyncio worker, some of which fail, retry or are revoked.

Every batch of tasks is accounted for in Redis before the next; then Redis is emptied, which would
else hold kilobytes of each.
"""

import asyncio
import time
from collections.abc import Sequence

import redis.asyncio
from celery import Celery

from bench import table
from bench.apps.filler import new_prefix, task_id
from bench.draining import Tasks, emptied, ended, fill, forget, records
from bench.figures import Figure
from bench.goals import Goal
from bench.pools import working
from bench.report import Context, Report
from bench.servers import Servers
from bench.usage import cpu_s
from bench.watched import growth, watched
from bench.workers import OURS
from devstack import chart
from devstack.errors import StartError

TASKS = 2_000_000
"""Unless `--tasks` says otherwise."""
_BATCH = 50_000
_MIX: Tasks = (
    {"task": "demo.broken", "args": [1]},
    {"task": "demo.once_more", "args": [1]},
    *({"task": "demo.plus", "args": [2, 3]},) * 98,
)
"""Of each hundred, one fails and one is tried again."""
_REVOKED = 20
"""Of each batch, so many are revoked while they wait, and as many while they run."""
_HOUR_S = 3600
_EVERY_S = 1.0
_STARTED_WITHIN_S = 30.0


async def compare(context: Context) -> Report:
    """Give one worker batch after batch, and watch it.

    Raises:
        StartError: Tasks did not end as they should.
    """
    servers = context.servers
    batches = max(1, (context.plan.tasks or TASKS) // _BATCH)
    rates, costs = [], []
    async with (
        working(servers, OURS) as worker,
        watched(worker.child.pid, _EVERY_S) as moments,
    ):
        for number in range(batches):
            began, before = time.monotonic(), cpu_s(worker.child.pid)
            await _batch(servers)
            rates.append(_BATCH / (time.monotonic() - began))
            costs.append((cpu_s(worker.child.pid) - before) * 1e6 / _BATCH)
            context.tell(
                f"soak {(number + 1) * _BATCH:,}  {rates[-1]:,.0f}/s {costs[-1]:,.0f} µs  "
                f"{moments[-1].rss_mb:,.0f} MB, {moments[-1].descriptors} descriptors"
            )
    grown = growth(moments)
    what = f"{batches * _BATCH:,} tasks, 1 % failures, 1 % retries, revokes"
    rows = [
        ("tasks/s, filling and counting included", Figure.of(rates).told()),
        ("CPU µs/task", Figure.of(costs).told()),
        ("RSS, MB", Figure.of(one.rss_mb for one in moments).told()),
        ("RSS of the last tenth over the second", f"{grown.rss:.3f}"),
        ("descriptors", Figure.of(one.descriptors for one in moments).told()),
    ]
    return Report(
        name="soak",
        data={"tasks": batches * _BATCH, "rates": rates, "costs": costs, "moments": moments},
        text=table.rows((what, ""), rows),
        goals=[
            Goal(
                what=f"{what}: RSS of the last tenth over the second",
                most=1.05, aim=1, unit="×", measured=_exactly(grown.rss),
            ),
            Goal(
                what=f"{what}: descriptors of the last tenth above the second",
                most=0, aim=0, unit="", measured=_exactly(grown.descriptors),
            ),
        ],
        charts={
            "soak": chart.over_time(
                "Memory of an asyncio worker",
                what,
                [
                    chart.Panel("MB", [("", [(one.at_s, one.rss_mb) for one in moments])]),
                    chart.Panel(
                        "descriptors", [("", [(one.at_s, one.descriptors) for one in moments])]
                    ),
                ],
            )
        },
    )  # fmt: skip


async def _batch(servers: Servers) -> None:
    """One batch from its publish to its last record.

    Raises:
        StartError: A task did not end as it should.
    """
    mixed, running = new_prefix(), new_prefix()
    waiting = [task_id(mixed, 100 * number + 2) for number in range(_REVOKED)]
    sleeping = [task_id(running, number) for number in range(_REVOKED)]
    await _revoke(servers, waiting)
    await fill(servers, [{"task": "demo.nap", "args": [_HOUR_S]}], _REVOKED, prefix=running)
    await _started(servers, sleeping)
    await fill(servers, _MIX, _BATCH, prefix=mixed)
    await _revoke(servers, sleeping)
    await emptied(servers)
    failed = _BATCH // len(_MIX)
    await ended(
        servers,
        {"SUCCESS": _BATCH - failed - _REVOKED, "FAILURE": failed, "REVOKED": 2 * _REVOKED},
    )
    await forget(servers)


async def _revoke(servers: Servers, ids: Sequence[str]) -> None:
    def tell() -> None:
        with Celery(broker=servers.rabbit.url) as app:
            app.control.revoke(list(ids), terminate=True)

    await asyncio.to_thread(tell)


async def _started(servers: Servers, ids: Sequence[str]) -> None:
    deadline = time.monotonic() + _STARTED_WITHIN_S
    async with redis.asyncio.Redis.from_url(servers.redis.url) as client:
        while missing := {*ids} - {
            one["task_id"] for one in await records(client) if one["status"] == "STARTED"
        }:
            if time.monotonic() > deadline:
                raise StartError(f"tasks that are to be revoked do not start: {missing}")
            await asyncio.sleep(0.1)


def _exactly(value: float) -> Figure:
    return Figure(value, value, value)
