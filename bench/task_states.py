"""What a task's two changes of state cost Redis: its processor time, and its memory afterwards.

The calls are the worker's own, made by its result backend, with a tenant that they are charged to.
One at a time is how a thread or a process calls; 32 in one write is how the asyncio pool does.
Redis is set up as in a deployment: append-only, written to disk each second.

    python -m bench redis [--tree CHECKOUT]
"""

import asyncio
import json
import os
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import redis.asyncio

from bench import table
from bench.figures import Figure, paired
from bench.goals import Goal
from bench.report import Context, Report
from devstack.errors import StartError
from devstack.product import ROOT
from penstock.wire.keys import HISTORY_CHANGES, HISTORY_REQUESTS

_PROGRAM = ROOT / "bench/apps/task_states.py"
_TASKS = 6_000
"""Of one run."""
_KEPT_TASKS = 100_000
"""Of the run that memory is measured with."""
_AT_ONCE = {"one at a time": 1, "32 at a time": 32}
_MOST_US, _MOST_OCTETS = 60.0, 1500.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One run."""

    cpu_us: float
    """Processor time of Redis for one task, microseconds."""
    octets: float
    """Memory of Redis that one task takes after its end."""


async def compare(context: Context) -> Report:
    """Every tree in turns; then the memory of many ended tasks, once each.

    Raises:
        StartError: The program failed.
    """
    trees = {"this": ROOT}
    if context.plan.tree is not None:
        trees["other"] = context.plan.tree.resolve()
    url = context.servers.redis.url
    samples: dict[str, list[Sample]] = defaultdict(list)
    for number in range(context.plan.rounds):
        for way, at_once in _AT_ONCE.items():
            for name, root in list(trees.items())[:: 1 if number % 2 else -1]:
                sample = await run(url, root, _TASKS, at_once)
                samples[f"{name}, {way}"].append(sample)
                context.tell(
                    f"round {number + 1}/{context.plan.rounds}  {name:<6} {way:<14}"
                    f"{sample.cpu_us:>7.1f} µs"
                )
    for name, root in trees.items():
        samples[f"{name}, memory"] = [await run(url, root, context.plan.tasks or _KEPT_TASKS, 100)]
    return Report(
        name="redis",
        data=dict(samples),
        text=_table(samples, list(trees)),
        goals=_goals(samples),
    )


def _table(samples: dict[str, list[Sample]], trees: list[str]) -> str:
    rows = []
    for way in _AT_ONCE:
        ours = [one.cpu_us for one in samples[f"this, {way}"]]
        for tree in trees:
            taken = [one.cpu_us for one in samples[f"{tree}, {way}"]]
            octets = samples[f"{tree}, memory"][0].octets
            rows.append(
                (
                    f"{tree} tree, {way}",
                    Figure.of(taken).told(1),
                    f"{octets:,.0f}",
                    paired(taken, ours).told(2),
                )
            )
    header = ("a task's two changes", "Redis µs/task", "octets/ended task", "× this tree")
    return table.rows(header, rows)


def _goals(samples: dict[str, list[Sample]]) -> list[Goal]:
    goals = [
        Goal(
            what=f"Redis' CPU for a task's two changes, {way}",
            most=_MOST_US,
            aim=_MOST_US / 2,
            unit="µs",
            measured=Figure.of(one.cpu_us for one in samples[f"this, {way}"]),
        )
        for way in _AT_ONCE
    ]
    octets = Figure.of(one.octets for one in samples["this, memory"])
    goals.append(
        Goal(
            what="Redis' memory of an ended task",
            most=_MOST_OCTETS,
            aim=_MOST_OCTETS / 2,
            unit="octets",
            measured=octets,
        )
    )
    return goals


async def run(url: str, root: Path, tasks: int, at_once: int, *, history: bool = False) -> Sample:
    """Run the program with the code of a checkout, on an empty Redis.

    Args:
        url: Of Redis.
        root: The checkout.
        tasks: How many.
        at_once: Calls in one write.
        history: Whether there are the streams that a history process makes.
    """
    async with redis.asyncio.Redis.from_url(url) as client:
        await client.flushall()
        if history:
            await client.xadd(HISTORY_CHANGES, {"k": ""})
            await client.xadd(HISTORY_REQUESTS, {"r": ""})
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(_PROGRAM), str(tasks), str(at_once),
        env={**os.environ, "REDIS_URL": url, "PYTHONPATH": str(root)},
        cwd=root, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, errors = await process.communicate()
    if process.returncode:
        raise StartError(f"{_PROGRAM.name} failed:\n{errors.decode()[-3000:]}")
    return Sample(**json.loads(output.splitlines()[-1]))
