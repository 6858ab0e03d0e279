"""History beside 5,000 changes of state per second: how far behind it is, and what it costs.

Every task changes twice, PROGRESS and then SUCCESS, by the worker's own scripts: none of the
changes is coalesced away, and each is a document that is written. The writer's own metric says how
far behind it is; afterwards every task must have its end in MongoDB. Beside it Redis' processor
time for a task's two changes, with history and without (`bench.task_states`).

    python -m bench history [--seconds 10]
"""

import asyncio
import dataclasses
import re
import time
import uuid
from pathlib import Path
from typing import Any

import aiohttp
import redis.asyncio
from pymongo import AsyncMongoClient

from bench import programs, table, task_states, usage
from bench.figures import Figure, paired
from bench.goals import Goal
from bench.report import Context, Report
from devstack.errors import StartError
from devstack.ports import free_port
from devstack.product import ROOT, Launcher
from penstock.wire.keys import HISTORY_CHANGES

RATE = 5_000
"""Changes per second."""
_SECONDS = 10.0
"""Of each of the two changes."""
_DATABASE = "bench_history"
_CATCH_UP_S = 60.0
_ASK_EVERY_S = 0.1
_LAG = re.compile(r'^penstock_history_lag_seconds\{stream="changes"\} (\S+)', re.MULTILINE)
_TASKS = 6_000
_MOST_LAG_S, _MOST_COST_US = 2.0, 20.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """One run."""

    changes: int
    rate: float
    """Changes per second, as written."""
    generator_latest_s: float
    """How far the generator was behind its own schedule at worst."""
    worst_lag_s: float
    complete_after_s: float
    """From the last change to the last document."""
    cpu_us: float
    """Processor time of the history process for one change, microseconds."""
    mongod_us: float
    """Of mongod."""
    wrong: int
    """Tasks without their end, or with another number of changes."""


async def compare(context: Context) -> Report:
    """Measure the pace once, and the cost in turns.

    Raises:
        StartError: A program failed.
    """
    seconds = context.plan.seconds or _SECONDS
    pace = await _pace(context, seconds)
    context.tell(f"history: {pace}")
    costs: dict[str, list[task_states.Sample]] = {"without": [], "with": []}
    for number in range(context.plan.rounds):
        for name in sorted(costs, reverse=bool(number % 2)):
            sample = await _cost(context.servers.redis.url, kept=name == "with")
            costs[name].append(sample)
            context.tell(f"round {number + 1} {name:<8}{sample.cpu_us:>7.1f} µs")
    more = [
        one.cpu_us - other.cpu_us
        for one, other in zip(costs["with"], costs["without"], strict=True)
    ]
    return Report(
        name="history",
        data={"pace": pace, "costs": costs},
        text=_table(pace, costs),
        goals=[
            Goal(
                what=f"history behind {RATE:,} changes/s, at worst",
                most=_MOST_LAG_S,
                aim=_MOST_LAG_S / 2,
                unit="s",
                measured=Figure.of([pace.worst_lag_s]),
            ),
            Goal(
                what="tasks that history has wrong",
                most=0,
                aim=0,
                unit="tasks",
                measured=Figure.of([float(pace.wrong)]),
            ),
            Goal(
                what="Redis' CPU for a task's two changes, more with history",
                most=_MOST_COST_US,
                aim=_MOST_COST_US / 2,
                unit="µs",
                measured=Figure.of(more),
            ),
        ],
    )


def _table(pace: Pace, costs: dict[str, list[task_states.Sample]]) -> str:
    rows = [
        ("changes/s, as written", f"{pace.rate:,.0f}"),
        ("at worst behind, s", f"{pace.worst_lag_s:.2f}"),
        ("complete after the last change, s", f"{pace.complete_after_s:.2f}"),
        ("history's CPU per change, µs", f"{pace.cpu_us:.0f}"),
        ("mongod's CPU per change, µs", f"{pace.mongod_us:.0f}"),
        ("tasks wrong", str(pace.wrong)),
    ]
    without = [one.cpu_us for one in costs["without"]]
    rows += [
        (
            f"Redis µs/task {name} history",
            f"{Figure.of(taken).told(1)}  × {paired(taken, without).told(2)}",
        )
        for name, samples in costs.items()
        if (taken := [one.cpu_us for one in samples])
    ]
    return table.rows(("history", "measured"), rows)


async def _pace(context: Context, seconds: float) -> Pace:
    servers, port = context.servers, free_port()
    if servers.mongo is None:
        raise StartError("history needs MongoDB")
    async with redis.asyncio.Redis.from_url(servers.redis.url) as client:
        await client.flushall()
    env = {**servers.env, "HISTORY_DATABASE": _DATABASE, "HISTORY_EVENTS": "0"}
    ids = [str(uuid.uuid4()) for _ in range(int(RATE * seconds))]
    file = servers.folder / "ids"
    await asyncio.to_thread(file.write_text, "\n".join(ids))
    process = Launcher(env=env, logs=servers.folder).history(port)
    mongo: AsyncMongoClient[Any] = AsyncMongoClient(servers.mongo.url)
    async with mongo:
        await mongo.drop_database(_DATABASE)
        await process.start()
        try:
            await _switched_on(servers.redis.url)
            pids = process.child.pid, servers.mongo.child.pid
            return await _measured(pids, port, file, ids, mongo[_DATABASE]["tasks"], env)
        finally:
            await process.stop()
            await mongo.drop_database(_DATABASE)


async def _switched_on(url: str) -> None:
    async with redis.asyncio.Redis.from_url(url) as client:
        while not await client.exists(HISTORY_CHANGES):  # noqa: ASYNC110  # Redis tells nobody
            await asyncio.sleep(_ASK_EVERY_S)


async def _measured(
    pids: tuple[int, int], port: int, file: Path, ids: list[str], tasks: Any, env: dict[str, str]
) -> Pace:
    lags: list[float] = []
    watching = asyncio.create_task(_watch(port, lags), name="lag")
    before = [usage.cpu_s(pid) for pid in pids]
    written = await programs.run(
        "bench.apps.changes", file, RATE, len(ids) / RATE, 1, env={"REDIS_URL": env["REDIS_URL"]}
    )
    ended = time.monotonic()
    while await tasks.count_documents({"state": "SUCCESS"}) < len(ids):
        if time.monotonic() - ended > _CATCH_UP_S:
            break
        await asyncio.sleep(_ASK_EVERY_S)
    complete_after_s = time.monotonic() - ended
    used = [usage.cpu_s(pid) - one for pid, one in zip(pids, before, strict=True)]
    watching.cancel()
    right = {"state": "SUCCESS", "changes": {"$size": 2}}
    return Pace(
        changes=written["changes"],
        rate=written["rate"],
        generator_latest_s=written["latest_s"],
        worst_lag_s=max(lags, default=0.0),
        complete_after_s=complete_after_s,
        cpu_us=used[0] * 1e6 / written["changes"],
        mongod_us=used[1] * 1e6 / written["changes"],
        wrong=len(ids) - await tasks.count_documents(right),
    )


async def _watch(port: int, lags: list[float]) -> None:
    async with aiohttp.ClientSession() as session:
        while True:
            async with session.get(f"http://127.0.0.1:{port}/metrics") as answer:
                if found := _LAG.search(await answer.text()):
                    lags.append(float(found[1]))
            await asyncio.sleep(_ASK_EVERY_S)


async def _cost(url: str, *, kept: bool) -> task_states.Sample:
    """Measure Redis alone, where a history process has made the streams, or none."""
    return await task_states.run(url, ROOT, _TASKS, 32, history=kept)
