"""HTTP → executed → its end at the client, all on this machine: ours, and what others use."""

from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

from bench import programs, table
from bench.contestants import GATEWAY, Contestant
from bench.draining import forget
from bench.figures import Figure, paired
from bench.gateways import serving
from bench.goals import Goal
from bench.peers import PEERS, install
from bench.pools import Pool, working
from bench.report import Context, Report
from bench.servers import Servers
from bench.usage import cpu_s
from bench.workers import OURS, POOLS

CLIENTS = 256
"""Tasks that are under way at a time."""
_WARM_UP_S = 2.0
_SECONDS = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """An HTTP server, a worker behind it, and clients that learn of ends in one way."""

    title: str
    server: Contestant
    worker: Pool
    clients: str
    """As `bench.apps.closed_loop` calls them."""


WAYS = {
    "penstock": Way(
        title="Penstock: gateway, asyncio pool, one WebSocket",
        server=GATEWAY,
        worker=OURS,
        clients="penstock",
    ),
    "polling": Way(
        title="FastAPI, .delay(), prefork -c 2, polling twice a second",
        server=Contestant(
            name="fastapi-tasks",
            title="FastAPI",
            kind="uvicorn",
            target="bench.apps.fastapi_tasks:app",
            venv=PEERS,
        ),
        worker=replace(
            POOLS["stock-prefork-defaults"], name="peer", application="bench.apps.celery_app"
        ),
        clients="poll",
    ),
}
"""By name in result files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One way in one round."""

    rate: float
    """Tasks a second, from submit to end."""
    p50_ms: float
    p99_ms: float
    cpu_us: dict[str, float]
    """Processor time for each task, by process."""


async def compare(context: Context) -> Report:
    """Run the same number of clients on each way, in turns.

    Raises:
        StartError: Something failed.
    """
    install(PEERS)
    rounds = context.plan.rounds
    taken: dict[str, list[Turn]] = {name: [] for name in WAYS}
    for number in range(rounds):
        for name in list(WAYS)[:: 1 if number % 2 else -1]:
            one = await _turn(context.servers, WAYS[name])
            taken[name].append(one)
            costs = ", ".join(f"{who} {cost:,.0f}" for who, cost in one.cpu_us.items())
            context.tell(
                f"there and back {number + 1}/{rounds}  {WAYS[name].title:<56}"
                f"{one.rate:>6,.0f}/s  p50 {one.p50_ms:,.0f} ms  µs a task: {costs}"
            )
    ratio = paired([one.rate for one in taken["penstock"]], [one.rate for one in taken["polling"]])
    return Report(
        name="there-and-back",
        data=taken,
        text=table.rows(
            ("HTTP to end at the client", "tasks/s", "p50 ms", "p99 ms"),
            [
                (
                    way.title,
                    Figure.of(one.rate for one in taken[name]).told(),
                    Figure.of(one.p50_ms for one in taken[name]).told(),
                    Figure.of(one.p99_ms for one in taken[name]).told(),
                )
                for name, way in WAYS.items()
            ],
        ),
        goals=[
            Goal(
                what=f"tasks/s from HTTP to the end at the client, against {WAYS['polling'].title}",
                least=5, aim=5, unit="×", measured=ratio,
            )
        ],
    )  # fmt: skip


async def _turn(servers: Servers, way: Way) -> Turn:
    async with AsyncExitStack() as stack:
        worker = await stack.enter_async_context(working(servers, way.worker))
        [server] = await stack.enter_async_context(serving(servers, [way.server]))
        pids = {
            "HTTP server": server.pid,
            "worker": worker.child.pid,
            "RabbitMQ": servers.rabbit.child.pid,
            "Redis": servers.redis.child.pid,
        }
        before = {name: cpu_s(pid) for name, pid in pids.items()}
        told = await programs.run(
            "bench.apps.closed_loop", way.clients, server.url, CLIENTS, _WARM_UP_S, _SECONDS,
            env=servers.env,
        )  # fmt: skip
        used = {name: cpu_s(pid) - before[name] for name, pid in pids.items()}
    await forget(servers)
    return Turn(
        rate=told["rate"],
        p50_ms=told["p50_ms"],
        p99_ms=told["p99_ms"],
        cpu_us={name: cpu * 1e6 / told["tasks"] for name, cpu in used.items()},
    )
