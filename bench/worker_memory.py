"""A worker of 1,000 coroutines before gigabytes of messages: what it holds of them at a time."""

import re
from dataclasses import replace

import redis.asyncio

from bench import table
from bench.draining import ended, fill, forget, records
from bench.figures import Figure
from bench.goals import Goal
from bench.pools import working
from bench.report import Context, Report
from bench.usage import peak_rss_bytes
from bench.watched import watched
from bench.workers import OURS
from devstack.children import Child

MESSAGES = 2_000
MESSAGE_BYTES = 4 * 1024 * 1024
_HELD_S = 0.2
_MB = 1_000_000
_WITHIN_S = 600.0
_LOST = re.compile(rb"missed heartbeats|client unexpectedly closed|onnection to broker lost")
_POOL = replace(OURS, name="worker-memory", telling="all")


async def compare(context: Context) -> Report:
    """Fill the queue, then start the worker. Once: it takes minutes, and as much disk as messages.

    Raises:
        StartError: Something failed, or tasks did not end.
    """
    servers = context.servers
    context.tell(f"memory  filling {MESSAGES:,} messages of {MESSAGE_BYTES / 2**20:.0f} MiB")
    text = "x" * (MESSAGE_BYTES - 100)
    await fill(servers, [{"task": "demo.weigh", "args": [text, _HELD_S]}], MESSAGES)
    lost_before = _lost(servers.rabbit.child)
    async with (
        working(servers, _POOL) as worker,
        watched(worker.child.pid, 0.5) as moments,
    ):
        await ended(servers, {"SUCCESS": MESSAGES}, _WITHIN_S)
        seconds, peak_mb = moments[-1].at_s, peak_rss_bytes(worker.child.pid) / _MB
        lost = _lost(worker.child) + _lost(servers.rabbit.child) - lost_before
    async with redis.asyncio.Redis.from_url(servers.redis.url) as client:
        deliveries = [record["result"]["deliveries"] for record in await records(client)]
    await forget(servers)
    again = sum(1 for count in deliveries if count)
    context.tell(f"memory  {seconds:.0f} s, at most {peak_mb:.0f} MB, {lost} connections lost")
    what = f"-c {_POOL.concurrency} before {MESSAGES:,} messages of {MESSAGE_BYTES / 2**20:.0f} MiB"
    return Report(
        name="worker-memory",
        data={"moments": moments, "peak_mb": peak_mb, "lost": lost, "delivered_again": again},
        text=table.rows(
            (what, ""),
            [
                ("seconds", f"{seconds:.0f}"),
                ("RSS at most, MB", f"{peak_mb:.0f}"),
                ("connections lost", str(lost)),
                ("messages delivered again", str(again)),
            ],
        ),
        goals=[
            Goal(
                what=f"{what}: RSS at most", most=600, aim=400, unit="MB",
                measured=Figure(peak_mb, peak_mb, peak_mb),
            ),
            Goal(
                what=f"{what}: connections lost, and messages delivered again",
                most=0, aim=0, unit="", measured=Figure(*[float(lost + again)] * 3),
            ),
        ],
    )  # fmt: skip


def _lost(child: Child) -> int:
    """How many lost connections it has logged."""
    return len(_LOST.findall(child.logged()))
