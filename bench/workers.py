"""What our start hook and result backend cost a worker: trivial tasks, against stock Celery."""

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Literal

import aio_pika
import redis.asyncio

from bench import programs, table
from bench.figures import Figure, paired
from bench.gateways import serving
from bench.goals import Goal
from bench.processes import Running
from bench.report import Context, Report
from bench.servers import Servers
from bench.usage import cpu_s
from devstack.children import Child
from devstack.process import Process
from devstack.product import ROOT

_TASKS = 4_000
_POLL_S = 0.01
_Pool = Literal["prefork", "threads"]
_CONCURRENCY: dict[_Pool, int] = {"prefork": 2, "threads": 4}


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One worker."""

    name: str
    title: str
    queue: str
    """Its own queue, so that all workers can run at once; all are quorum queues."""
    app: str
    env: dict[str, str]


VARIANTS = (
    Variant(name="ours", title="Penstock's worker", queue="default", app="tasks.worker", env={}),
    Variant(
        name="same-promises",
        title="stock Celery, late acks, STARTED told",
        queue="high_priority",
        app="bench.apps.stock_worker",
        env={"QUEUE": "high_priority", "PROMISES": "1", "PREFETCH": "1"},
    ),
    Variant(
        name="defaults",
        title="stock Celery, its defaults: early acks, no STARTED",
        queue="periodic",
        app="bench.apps.stock_worker",
        env={"QUEUE": "periodic", "PROMISES": "0", "PREFETCH": "4"},
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One worker in one round."""

    rate: float
    """Tasks a second over the last nine tenths of the queue."""
    cpu_us: float
    """The worker's processor time for each task, all its processes."""


async def compare(context: Context) -> Report:
    """Each worker empties its own queue of as many tasks, in turns, on both pools.

    Raises:
        StartError: Something failed.
    """
    samples: dict[_Pool, dict[str, list[Sample]]] = {}
    for pool in _CONCURRENCY:
        samples[pool] = {variant.name: [] for variant in VARIANTS}
        async with serving(context.servers) as [gateway]:
            for number in range(context.plan.rounds):
                for variant in VARIANTS[number % 3 :] + VARIANTS[: number % 3]:
                    one = await _run(context.servers, gateway, variant, pool)
                    samples[pool][variant.name].append(one)
                    context.tell(
                        f"workers {number + 1}/{context.plan.rounds}  {pool:<8} "
                        f"{variant.title:<40}{one.rate:>7,.0f}/s {one.cpu_us:>7,.0f} µs"
                    )
    rows, goals = [], []
    for pool, by_name in samples.items():
        for variant in VARIANTS:
            taken = by_name[variant.name]
            rows.append(
                (
                    f"{pool} -c {_CONCURRENCY[pool]}: {variant.title}",
                    Figure.of(one.rate for one in taken).told(),
                    Figure.of(one.cpu_us for one in taken).told(),
                )
            )
        for variant in VARIANTS[1:]:
            ratio = paired(
                [one.rate for one in by_name["ours"]], [one.rate for one in by_name[variant.name]]
            )
            what = f"worker throughput, {pool}, against {variant.title}"
            goals.append(Goal(what=what, least=0.9, aim=1.0, unit="×", measured=ratio))
    return Report(
        name="workers",
        data=samples,
        text=table.rows(("worker, demo.add", "tasks/s", "CPU µs/task"), rows),
        goals=goals,
    )


async def _run(servers: Servers, gateway: Running, variant: Variant, pool: _Pool) -> Sample:
    """Start the worker, then fill its queue, then time how it empties."""
    child = Child(
        f"{variant.name}-{pool}",
        [
            sys.executable, "-m", "celery", "-A", variant.app, "worker", "--loglevel=warning",
            f"--pool={pool}", f"--concurrency={_CONCURRENCY[pool]}", f"--queues={variant.queue}",
            f"--hostname={variant.name}@%h", "--without-gossip", "--without-mingle",
        ],
        log=servers.folder / f"worker-{variant.name}.log",
        env={**os.environ, **servers.env, **variant.env, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
    )  # fmt: skip
    async with AsyncExitStack() as stack:
        connection = await stack.enter_async_context(await aio_pika.connect(servers.rabbit.url))
        channel = await connection.channel()

        async def look() -> tuple[int, int]:
            queue = await channel.declare_queue(variant.queue, passive=True)
            told = queue.declaration_result
            return told.message_count or 0, told.consumer_count or 0

        async def consumed() -> bool:
            return (await look())[1] > 0

        worker = Process(child, consumed, stop_timeout_s=10.0)
        stack.push_async_callback(worker.stop)
        await worker.start()
        before = cpu_s(child.pid)
        await _fill(servers, gateway, variant.queue)
        depth = await _until(look, int(_TASKS * 0.9))
        started = time.monotonic()
        await _until(look, 0)
        elapsed = time.monotonic() - started
        used = cpu_s(child.pid) - before
    async with redis.asyncio.Redis.from_url(servers.redis.url) as client:
        await client.flushall()
    return Sample(rate=depth / elapsed, cpu_us=used * 1e6 / _TASKS)


async def _until(look: Callable[[], Awaitable[tuple[int, int]]], most: int) -> int:
    """Wait until the queue holds no more than that; how many it holds."""
    while True:
        depth, _ = await look()
        if depth <= most:
            return depth
        await asyncio.sleep(_POLL_S)


async def _fill(servers: Servers, gateway: Running, queue: str) -> None:
    lines = servers.folder / f"{queue}.ndjson"
    task = {"task": "demo.add", "args": [2, 3], "options": {"queue": queue}}
    lines.write_text((json.dumps(task) + "\n") * _TASKS)
    await programs.run(
        "bench.apps.poster", "stream", f"{gateway.url}/v1/tasks/bulk", lines,
        "application/x-ndjson", 60, 1, env={},
    )  # fmt: skip
