"""From a submit to its result on an idle machine, one task at a time: pools, and stock Celery."""

from dataclasses import dataclass

from bench import programs, table
from bench.draining import forget
from bench.figures import Figure, difference, percentile
from bench.gateways import serving
from bench.goals import Goal
from bench.pools import Pool, working
from bench.report import Context, Report
from bench.servers import Servers
from bench.workers import OURS, POOLS

_TASKS = 200
_POOLS = (OURS, POOLS["prefork"], POOLS["threads"], POOLS["stock-prefork-defaults"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """One worker in one round, milliseconds."""

    p50_ms: float
    p99_ms: float


async def compare(context: Context) -> Report:
    """Submit a task, wait for its result, submit the next.

    Ours: HTTP, and the result on a WebSocket. Stock Celery: its own client, without HTTP.

    Raises:
        StartError: Something failed.
    """
    servers, plan = context.servers, context.plan
    taken: dict[str, list[Times]] = {pool.name: [] for pool in _POOLS}
    async with serving(servers) as [gateway]:
        for number in range(plan.rounds):
            shift = number % len(_POOLS)
            for pool in _POOLS[shift:] + _POOLS[:shift]:
                one = await _round(servers, pool, gateway.url)
                taken[pool.name].append(one)
                context.tell(
                    f"latency {number + 1}/{plan.rounds}  {pool.title:<40}"
                    f"p50 {one.p50_ms:.1f} ms  p99 {one.p99_ms:.1f} ms"
                )
    ours = [one.p50_ms for one in taken[OURS.name]]
    prefork = [one.p50_ms for one in taken["prefork"]]
    return Report(
        name="task-latency",
        data=taken,
        text=table.rows(
            ("submit to result, one at a time", "p50 ms", "p99 ms"),
            [
                (
                    pool.title,
                    Figure.of(one.p50_ms for one in taken[pool.name]).told(1),
                    Figure.of(one.p99_ms for one in taken[pool.name]).told(1),
                )
                for pool in _POOLS
            ],
        ),
        goals=[
            Goal(
                what=f"submit to result, {OURS.title}, p50",
                most=8, aim=7, unit="ms", measured=Figure.of(ours),
            ),
            Goal(
                what=f"submit to result, {OURS.title}, p50 above {POOLS['prefork'].title}",
                most=0, aim=0, unit="ms", measured=difference(ours, prefork),
            ),
        ],
    )  # fmt: skip


async def _round(servers: Servers, pool: Pool, url: str) -> Times:
    kind = "penstock" if pool.ours else "celery"
    async with working(servers, pool):
        took = await programs.run(
            "bench.apps.one_by_one", kind, url, _TASKS, env={**servers.env, **pool.env}
        )
    await forget(servers)
    ordered = sorted(took)
    return Times(p50_ms=percentile(ordered, 0.5), p99_ms=percentile(ordered, 0.99))
