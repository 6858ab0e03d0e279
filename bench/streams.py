"""Streams: 10,000 sockets on one gateway, submits beside them, and peers that poll."""

import asyncio
import math
from dataclasses import dataclass, replace
from typing import Any

import redis.asyncio

from bench import programs, table
from bench.contestants import GATEWAY, Contestant
from bench.figures import Figure, paired
from bench.gateways import serving
from bench.goals import Goal
from bench.peers import CELERY_FASTAPI, PEERS, install
from bench.report import Context, Report
from bench.rounds import Sample, run_once
from bench.servers import Servers
from bench.usage import cpu_s, rss_bytes
from bench.watching import issue, watching
from devstack import chart

SOCKETS = 10_000
CHANGES_A_SECOND = 5_000
_SETTLE_S = 1.0
_PEER_WATCHERS = 1_000
_PEER_CHANGES_A_SECOND = 200
_BESIDE_CHANGES_A_SECOND = 1_000
_LONG_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """One round of many sockets."""

    told: dict[str, Any]
    """What the clients counted."""
    generator: dict[str, Any]
    rss_kib_a_socket: float
    gateway_us: float
    """The gateway's processor time for each change."""


async def crowd(context: Context, seconds: float = 10.0) -> Report:
    """Every socket watches its own task; each is told each change and its end.

    Raises:
        StartError: Something failed.
    """
    rounds: list[Crowd] = []
    for number in range(context.plan.rounds):
        rounds.append(await _crowd_round(context.servers, number, seconds))
        told = rounds[-1].told
        context.tell(
            f"sockets {number + 1}/{context.plan.rounds}  {told['changes']:,} changes told, "
            f"p50 {told.get('p50_ms', 0):.1f} ms p99 {told.get('p99_ms', 0):.1f} ms, "
            f"{told['missing']} ends missing, {told['twice']} told twice, "
            f"{rounds[-1].rss_kib_a_socket:.1f} KiB a socket, "
            f"generator {rounds[-1].generator['rate']:,.0f}/s"
        )
    p99 = Figure.of(one.told.get("p99_ms", math.inf) for one in rounds)
    rss = Figure.of(one.rss_kib_a_socket * 1.024 for one in rounds)
    wrong = Figure.of(one.told["missing"] + one.told["twice"] for one in rounds)
    rows = [
        ("changes/s written", Figure.of(one.generator["rate"] for one in rounds).told()),
        ("changes told", Figure.of(one.told["changes"] for one in rounds).told()),
        ("p50, ms", Figure.of(one.told.get("p50_ms", math.inf) for one in rounds).told(1)),
        ("p99, ms", p99.told(1)),
        ("longest, ms", Figure.of(one.told.get("max_ms", math.inf) for one in rounds).told(1)),
        ("ends not told once", wrong.told()),
        ("RSS a socket, KB", rss.told(1)),
        ("gateway CPU a change, µs", Figure.of(one.gateway_us for one in rounds).told(1)),
    ]
    return Report(
        name="sockets",
        data=rounds,
        text=table.rows((f"{SOCKETS:,} sockets, each its own task", ""), rows),
        goals=[
            Goal(what="p99 from Redis to the client", most=50, aim=20, unit="ms", measured=p99),
            Goal(what="RSS for each socket", most=20, aim=15, unit="KB", measured=rss),
            Goal(what="final states not told exactly once", most=0, aim=0, unit="", measured=wrong),
        ],
    )


async def _crowd_round(servers: Servers, number: int, seconds: float) -> Crowd:
    ids = issue(SOCKETS, servers.folder, f"crowd{number}")
    async with serving(servers) as [gateway]:
        await asyncio.sleep(_SETTLE_S)
        rss_before = rss_bytes(gateway.pid)
        async with watching("penstock", gateway.url, ids, servers.env) as clients:
            await asyncio.sleep(_SETTLE_S)
            rss_after, before = rss_bytes(gateway.pid), cpu_s(gateway.pid)
            generator = await programs.run(
                "bench.apps.changes", ids, CHANGES_A_SECOND, seconds, 1, env=servers.env
            )
            told = await clients.outcome()
            used = cpu_s(gateway.pid) - before
    await _forget(servers)
    return Crowd(
        told=told,
        generator=generator,
        rss_kib_a_socket=(rss_after - rss_before) / 1024 / SOCKETS,
        gateway_us=used * 1e6 / generator["changes"],
    )


async def submits_beside(context: Context) -> Report:
    """The rate of submits with 10,000 sockets and 1,000 changes a second, and without.

    Raises:
        StartError: Something failed.
    """
    servers, plan = context.servers, context.plan
    alone: list[Sample] = []
    beside: list[Sample] = []
    async with serving(servers) as [gateway]:
        for number in range(plan.rounds):
            ids = issue(SOCKETS, servers.folder, f"beside{number}")
            alone.append(await run_once(gateway, servers, plan.load, plan))
            async with watching("penstock", gateway.url, ids, servers.env):
                changing = asyncio.create_task(
                    programs.run(
                        "bench.apps.changes", ids, _BESIDE_CHANGES_A_SECOND, _LONG_S, 0,
                        env=servers.env,
                    )
                )  # fmt: skip
                await asyncio.sleep(_SETTLE_S)
                beside.append(await run_once(gateway, servers, plan.load, plan))
                changing.cancel()
                await asyncio.wait({changing})
            await _forget(servers)
            context.tell(
                f"submits {number + 1}/{plan.rounds}  alone {alone[-1].rate:,.0f}/s "
                f"{alone[-1].cpu_us:.0f} µs  beside {SOCKETS:,} sockets "
                f"{beside[-1].rate:,.0f}/s {beside[-1].cpu_us:.0f} µs"
            )
    with_sockets = f"with {SOCKETS:,} sockets and {_BESIDE_CHANGES_A_SECOND:,} changes/s"

    def rate(taken: list[Sample]) -> Figure:
        return Figure.of(one.rate for one in taken)

    def cost(taken: list[Sample]) -> Figure:
        return Figure.of(one.cpu_us for one in taken)

    return Report(
        name="submits-beside-sockets",
        data={"alone": alone, "beside": beside},
        text=table.rows(
            ("submits of one gateway", "requests/s", "gateway CPU µs/request, changes included"),
            [
                (title, rate(taken).told(), cost(taken).told(1))
                for title, taken in (("without sockets", alone), (with_sockets, beside))
            ],
        ),
        goals=[
            Goal(
                what="submit rate beside 10,000 sockets",
                least=0.7,
                aim=0.8,
                unit="×",
                measured=paired([one.rate for one in beside], [one.rate for one in alone]),
            )
        ],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """One way to watch, one round."""

    told: dict[str, Any]
    commands_a_second: float
    """Redis commands beyond those of who changes the states."""
    cpu_share: float
    """Of one processor, by the server process."""


_POLLING = Contestant(
    name="polling",
    title="FastAPI, AsyncResult, GET twice a second",
    kind="uvicorn",
    target="bench.apps.fastapi_polling:app",
    venv=PEERS,
)
_PEER_STREAM = Contestant(
    name="celery-fastapi",
    title="celery-fastapi, its WebSocket (polls twice a second)",
    kind="uvicorn",
    target="bench.apps.celery_fastapi_app:app",
    venv=CELERY_FASTAPI,
)
_OURS = replace(GATEWAY, name="penstock", title="Penstock, WebSocket (pushed)")
WAYS = {"penstock": _OURS, "celery-fastapi": _PEER_STREAM, "poll": _POLLING}
"""Ways to watch tasks, by the kind of client that they need."""


async def peers(context: Context, seconds: float = 10.0) -> Report:
    """1,000 watchers: how soon each way tells, and what it asks of Redis.

    Raises:
        StartError: Something failed.
    """
    for one in WAYS.values():
        install(one.venv)
    rounds: dict[str, list[Peer]] = {kind: [] for kind in WAYS}
    for number in range(context.plan.rounds):
        for kind, one in WAYS.items():
            ids = issue(_PEER_WATCHERS, context.servers.folder, f"peer-{kind}-{number}")
            rounds[kind].append(await _peer_round(context.servers, kind, one, ids, seconds))
            told, latest = rounds[kind][-1].told, rounds[kind][-1]
            context.tell(
                f"watchers {number + 1}/{context.plan.rounds}  {one.title:<52} "
                f"end told after p50 {told.get('final_p50_ms', 0):.1f} ms, "
                f"{latest.commands_a_second:,.0f} commands/s, {told['changes']} changes told, "
                f"{told['missing']} missing {told['sample']}"
            )
    lines, bars = [], []
    for kind, one in WAYS.items():
        taken = rounds[kind]
        p50 = Figure.of(peer.told.get("final_p50_ms", 0) for peer in taken)
        bars.append(chart.Bar(one.title, p50, kind == "penstock"))
        lines.append(
            (
                one.title,
                p50.told(1),
                Figure.of(peer.told.get("final_p99_ms", 0) for peer in taken).told(1),
                Figure.of(peer.commands_a_second for peer in taken).told(),
                Figure.of(100 * peer.cpu_share for peer in taken).told(),
                Figure.of(peer.told["changes"] for peer in taken).told(),
                # celery-fastapi reads `state` and `ready` one after the other: a task that ends
                # in between is told as PROGRESS, ready, and its socket is closed.
                Figure.of(peer.told["missing"] for peer in taken).told(),
            )
        )
    written = int(_PEER_CHANGES_A_SECOND * seconds) + _PEER_WATCHERS
    header = (
        f"{_PEER_WATCHERS:,} watchers", "end told after p50 ms", "p99 ms", "Redis commands/s",
        "server CPU %", f"changes told of {written:,}", "ends never told",
    )  # fmt: skip
    note = f"{_PEER_WATCHERS:,} watchers, {_PEER_CHANGES_A_SECOND} changes/s"
    return Report(
        name="watching-peers",
        data=rounds,
        text=table.rows(header, lines),
        charts={
            "watch-latency": chart.bars(
                "From the end of a task to its watcher, ms", f"{note}, median of p50", bars, 1
            ),
            "watch-redis": chart.bars(
                "Redis commands per second",
                f"{note}, beyond those that change the states",
                [
                    chart.Bar(
                        one.title,
                        Figure.of(peer.commands_a_second for peer in rounds[kind]),
                        kind == "penstock",
                    )
                    for kind, one in WAYS.items()
                ],
            ),
        },
    )


async def _peer_round(
    servers: Servers, kind: str, one: Contestant, ids: Any, seconds: float
) -> Peer:
    async with (
        serving(servers, [one]) as [server],
        watching(kind, server.url, ids, servers.env) as clients,
    ):
        commands, before = await _commands(servers), cpu_s(server.pid)
        generator = await programs.run(
            "bench.apps.changes", ids, _PEER_CHANGES_A_SECOND, seconds, 1, env=servers.env
        )
        asked, used = await _commands(servers) - commands, cpu_s(server.pid) - before
        told = await clients.outcome()
    own = await _commands(servers)
    again = issue(_PEER_WATCHERS, servers.folder, f"{kind}-own")
    await programs.run("bench.apps.changes", again, 2000, 1.0, 1, env=servers.env)
    # the same script on other tasks: what changing the states itself asks of Redis
    each = (await _commands(servers) - own) / (2000 + _PEER_WATCHERS)
    await _forget(servers)
    return Peer(
        told=told,
        commands_a_second=max(0.0, asked - each * generator["changes"]) / generator["seconds"],
        cpu_share=used / generator["seconds"],
    )


async def _commands(servers: Servers) -> int:
    async with redis.asyncio.Redis.from_url(servers.redis.url) as client:
        return int((await client.info("stats"))["total_commands_processed"])


async def _forget(servers: Servers) -> None:
    async with redis.asyncio.Redis.from_url(servers.redis.url) as client:
        await client.flushall()
