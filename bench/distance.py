"""Workers far from their servers: what 5 ms to RabbitMQ and Redis and back leave of their rate.

Near and far lead through the same proxy, so that its own cost is in both.
"""

from collections import defaultdict
from contextlib import AsyncExitStack
from dataclasses import replace

from bench import table
from bench.draining import drained
from bench.figures import Figure, paired
from bench.goals import Goal
from bench.report import Context, Report
from bench.servers import Servers
from bench.workers import POOLS
from devstack.proxy import TcpProxy

ROUND_TRIP_S = 0.005
_TASKS = ({"task": "demo.plus", "args": [2, 3]},)
_SENT_AHEAD = 4
_THREADS = replace(POOLS["threads"], tasks=3_000)
_PREFORK = replace(POOLS["prefork"], tasks=3_000)
_POOLS = (
    replace(POOLS["asyncio"], tasks=20_000),
    _THREADS,
    replace(
        _THREADS, name="threads-ahead", called=f"{_THREADS.called}, prefetch {_SENT_AHEAD}",
        prefetch=_SENT_AHEAD,
    ),
    replace(
        _THREADS, name="threads-many", called=f"{_THREADS.called}, prefetch {_SENT_AHEAD}",
        prefetch=_SENT_AHEAD, concurrency=24,
    ),
    replace(
        _PREFORK, name="prefork-many", called=f"{_PREFORK.called}, prefetch {_SENT_AHEAD}",
        prefetch=_SENT_AHEAD, concurrency=16,
    ),
)  # fmt: skip
_ENOUGH = ("asyncio", "threads-many", "prefork-many")
"""Pools that are set up for the distance, as docs/clusters.md says."""


async def compare(context: Context) -> Report:
    """Each worker empties its queue near and far, in turns.

    Raises:
        StartError: Something failed.
    """
    rates: dict[str, dict[float, list[float]]] = {pool.name: defaultdict(list) for pool in _POOLS}
    for number in range(context.plan.rounds):
        for pool in _POOLS:
            for away_s in (0.0, ROUND_TRIP_S)[:: 1 if number % 2 else -1]:
                async with AsyncExitStack() as stack:
                    env = await _through(stack, context.servers, away_s / 2)
                    one = await drained(context.servers, pool, _TASKS, env)
                rates[pool.name][away_s].append(one.rate)
                context.tell(
                    f"distance {number + 1}/{context.plan.rounds}  {pool.title:<50}"
                    f"{away_s * 1e3:>3.0f} ms  {one.rate:>7,.0f}/s"
                )
    shares = {name: paired(found[ROUND_TRIP_S], found[0.0]) for name, found in rates.items()}
    return Report(
        name="distance",
        data={
            name: {f"{away_s * 1e3:g} ms": found for away_s, found in both.items()}
            for name, both in rates.items()
        },
        text=table.rows(
            ("worker, a trivial task", "near, tasks/s", "5 ms away", "share"),
            [
                (
                    pool.title,
                    *(Figure.of(rates[pool.name][one]).told() for one in (0.0, ROUND_TRIP_S)),
                    shares[pool.name].told(2),
                )
                for pool in _POOLS
            ],
        ),
        goals=[
            Goal(
                what=f"tasks/s 5 ms away, of those near: {pool.title}",
                least=0.8, aim=0.8, unit="×", measured=shares[pool.name],
            )
            for pool in _POOLS
            if pool.name in _ENOUGH
        ],
    )  # fmt: skip


async def _through(stack: AsyncExitStack, servers: Servers, away_s: float) -> dict[str, str]:
    """Return the addresses of the servers, so far away."""
    ports = {"AMQP_URL": servers.rabbit.port, "REDIS_URL": servers.redis.port}
    return {
        name: (await stack.enter_async_context(TcpProxy(port, away_s=away_s))).url_through(
            servers.env[name]
        )
        for name, port in ports.items()
    }
