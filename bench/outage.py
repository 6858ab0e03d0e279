"""Redis killed while 1,000 sockets watch: each ends with the right state, and nobody polls."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import redis.asyncio

from bench import programs, table
from bench.figures import Figure
from bench.gateways import serving
from bench.goals import Goal
from bench.report import Context, Report
from bench.watching import issue, watching

WATCHERS = 1_000
_CHANGES_A_SECOND = 500
_BEFORE_S, _AWAY_S, _IDLE_S = 2.0, 3.0, 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """One round."""

    told: dict[str, Any]
    away_s: float
    """From the kill until Redis answered again."""
    idle_commands: float
    """What Redis was asked each second while nothing changed, with all watchers."""
    unwatched_commands: float
    """The same without any."""


async def outage(context: Context) -> Report:
    """Kill Redis with kill -9, start it again, then end all tasks.

    Raises:
        StartError: Something failed.
    """
    rounds: list[Outage] = []
    for number in range(min(context.plan.rounds, 3)):
        rounds.append(await _round(context, number))
        one = rounds[-1]
        context.tell(
            f"redis killed {number + 1}  away {one.away_s:.1f} s, "
            f"{one.told['finals']:,} ends told, {one.told['missing']} missing, "
            f"{one.told['twice']} twice, {one.told['closed_early']} sockets lost, "
            f"{one.told['gaps']:,} gaps, {one.idle_commands:.1f} commands/s while idle "
            f"({one.unwatched_commands:.1f} without watchers)"
        )
    wrong = Figure.of(
        one.told["missing"] + one.told["twice"] + one.told["closed_early"] for one in rounds
    )
    polls = Figure.of(max(0.0, one.idle_commands - one.unwatched_commands) for one in rounds)
    rows = [
        ("Redis away, s", Figure.of(one.away_s for one in rounds).told(1)),
        ("ends told", Figure.of(one.told["finals"] for one in rounds).told()),
        ("ends missing, told twice, sockets lost", wrong.told()),
        ("gaps", Figure.of(one.told["gaps"] for one in rounds).told()),
        ("Redis commands/s of idle watchers", polls.told(1)),
    ]
    return Report(
        name="redis-killed",
        data=rounds,
        text=table.rows((f"Redis killed under {WATCHERS:,} watchers", ""), rows),
        goals=[
            Goal(
                what="wrong ends after Redis was killed", most=0, aim=0, unit="", measured=wrong
            ),
            Goal(
                what="Redis commands of 1,000 idle watchers",
                most=5, aim=0, unit="/s", measured=polls,
            ),
        ],
    )  # fmt: skip


async def _round(context: Context, number: int) -> Outage:
    servers = context.servers
    ids = issue(WATCHERS, servers.folder, f"outage{number}")
    async with serving(servers) as [gateway]:
        unwatched = await _asked(servers.redis.url)
        async with watching("penstock", gateway.url, ids, servers.env) as clients:
            idle = await _asked(servers.redis.url)
            changing = asyncio.create_task(
                programs.run("bench.apps.changes", ids, _CHANGES_A_SECOND, 60, 0, env=servers.env)
            )
            await asyncio.sleep(_BEFORE_S)
            await servers.redis.kill()
            killed_at = time.monotonic()
            changing.cancel()
            await asyncio.wait({changing})
            await asyncio.sleep(_AWAY_S)
            await servers.redis.start()
            away_s = time.monotonic() - killed_at
            await programs.run("bench.apps.changes", ids, _CHANGES_A_SECOND, 0, 1, env=servers.env)
            told = await clients.outcome()
    return Outage(told=told, away_s=away_s, idle_commands=idle, unwatched_commands=unwatched)


async def _asked(url: str) -> float:
    """Commands a second that others send to Redis."""
    async with redis.asyncio.Redis.from_url(url) as client:
        before = await client.info("stats")
        await asyncio.sleep(_IDLE_S)
        after = await client.info("stats")
    name = "total_commands_processed"
    return float(after[name] - before[name] - 1) / _IDLE_S
