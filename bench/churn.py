"""Watchers that come and go for minutes: what the gateway holds must not grow."""

import asyncio
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import redis.asyncio

from bench import programs, table
from bench.figures import Figure
from bench.gateways import serving
from bench.goals import Goal
from bench.processes import Running
from bench.report import Context, Report
from bench.usage import descriptors, rss_bytes
from bench.watching import issue
from devstack import chart
from devstack.errors import StartError

SECONDS = 600.0
CLIENTS = 200
CHANGES_A_SECOND = 500
_LIVE, _ENDED = 2000, 200
_WARM_UP_S = 10.0
_SAMPLE_EVERY_S = 1.0
_FREED_WITHIN_S = 90.0
"""Half-open clients are cut after 45 s of silence."""
_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What the gateway holds at a moment."""

    at_s: float
    rss_mib: float
    descriptors: int
    streams: int
    watched: int
    """Tasks."""
    channels: int
    """Redis' count of the gateway's subscriptions."""


async def churn(context: Context) -> Report:
    """Sockets and event streams connect, watch, vanish and resume; at the end all is freed.

    Raises:
        StartError: Something failed.
    """
    servers, seconds = context.servers, context.plan.seconds or SECONDS
    live = issue(_LIVE, servers.folder, "churn-live")
    ended = issue(_ENDED, servers.folder, "churn-ended")
    await programs.run("bench.apps.changes", ended, 1000, 0, 1, env=servers.env)
    async with (
        serving(servers, env={"METRICS_PUBLIC": "1"}) as [gateway],
        redis.asyncio.Redis.from_url(servers.redis.url) as client,
        aiohttp.ClientSession() as session,
    ):
        look = _Look(gateway, client, session)

        async def come_and_go(length_s: float, silent: int) -> tuple[dict[str, Any], list[Held]]:
            changing = asyncio.create_task(
                programs.run(
                    "bench.apps.changes", live, CHANGES_A_SECOND, length_s, 0, env=servers.env
                )
            )
            looking = asyncio.create_task(look.on(context.tell))
            told = await programs.run(
                "bench.apps.churners", gateway.url, live, ended, CLIENTS, length_s, silent,
                env=servers.env,
            )  # fmt: skip
            looking.cancel()
            await changing
            return told, await looking

        await come_and_go(_WARM_UP_S, 0)
        before = await look.until_free()
        told, moments = await come_and_go(seconds, 1)
        after = await look.until_free()
    return _report(before, moments, after, told, seconds)


class _Look:
    """Looks at one gateway."""

    def __init__(
        self, gateway: Running, client: "redis.asyncio.Redis", session: aiohttp.ClientSession
    ) -> None:
        self._gateway = gateway
        self._client = client
        self._session = session
        self._started = time.monotonic()

    async def once(self) -> Held:
        """What it holds now."""
        async with self._session.get(f"{self._gateway.url}/metrics") as response:
            lines = (await response.text()).splitlines()
        subscribed = await self._client.client_list(_type="pubsub")
        return Held(
            at_s=time.monotonic() - self._started,
            rss_mib=rss_bytes(self._gateway.pid) / _MIB,
            descriptors=descriptors(self._gateway.pid),
            streams=_gauge(lines, "penstock_streams"),
            watched=_gauge(lines, "penstock_watched_tasks"),
            channels=sum(int(one["sub"]) for one in subscribed),
        )

    async def on(self, tell: Callable[[str], None]) -> list[Held]:
        """Look again and again until cancelled."""
        self._started = time.monotonic()
        found: list[Held] = []
        try:
            while True:
                found.append(held := await self.once())
                if len(found) % 30 == 0:
                    tell(
                        f"churn {held.at_s:.0f} s  {held.rss_mib:.0f} MiB  "
                        f"{held.descriptors} descriptors  {held.streams} streams  "
                        f"{held.watched} tasks watched  {held.channels} channels"
                    )
                await asyncio.sleep(_SAMPLE_EVERY_S)
        except asyncio.CancelledError:
            return found

    async def until_free(self) -> Held:
        """Wait until no client is left, and look.

        Raises:
            StartError: Some are kept.
        """
        deadline = time.monotonic() + _FREED_WITHIN_S
        while (held := await self.once()).streams or held.watched or held.channels:
            if time.monotonic() > deadline:
                raise StartError(f"not everything was freed: {held}")
            await asyncio.sleep(_SAMPLE_EVERY_S)
        return held


def _gauge(lines: Sequence[str], name: str) -> int:
    return sum(
        int(float(line.split()[-1])) for line in lines if line.startswith((f"{name} ", f"{name}{{"))
    )


def _report(
    before: Held, moments: Sequence[Held], after: Held, told: dict[str, Any], seconds: float
) -> Report:
    third = max(1, len(moments) // 3)
    second, last = moments[third : 2 * third] or moments, moments[-third:]
    growth = _median(last, lambda held: held.rss_mib) / _median(second, lambda held: held.rss_mib)
    left = after.descriptors - before.descriptors
    wrong = told.get("wrong", 0)
    rows = [
        ("clients that came", f"{told['sockets'] + told['event_streams']:,}"),
        ("of them in a hurry", f"{told['hurried']:,}"),
        ("of them silent to the end", f"{told.get('silent', 0):,}"),
        ("came back with cursors", f"{told['resumed']:,}"),
        ("answers that were wrong", f"{wrong:,}"),
        ("RSS, MiB: before, median of the thirds, after", " ".join(
            f"{value:.1f}" for value in (
                before.rss_mib, _median(moments[:third], lambda held: held.rss_mib),
                _median(second, lambda held: held.rss_mib),
                _median(last, lambda held: held.rss_mib), after.rss_mib,
            )
        )),
        ("descriptors: before, highest, after", (
            f"{before.descriptors} {max(held.descriptors for held in moments)} {after.descriptors}"
        )),
        ("tasks watched: highest, after", (
            f"{max(held.watched for held in moments):,} {after.watched}"
        )),
        ("channels at Redis: highest, after", (
            f"{max(held.channels for held in moments):,} {after.channels}"
        )),
    ]  # fmt: skip
    title = f"Watchers coming and going for {seconds:,.0f} s"
    note = f"{CLIENTS} at a time, a second each; {CHANGES_A_SECOND} changes/s"
    return Report(
        name="churn",
        data={"before": before, "moments": moments, "after": after, "told": told},
        text=table.rows((title, ""), rows),
        goals=[
            Goal(
                what="RSS under churn, last third against the second",
                most=1.05, aim=1.0, unit="×", measured=Figure(growth, growth, growth),
            ),
            Goal(
                what="descriptors kept after churn",
                most=0, aim=0, unit="", measured=Figure(left, left, left),
            ),
            Goal(
                what="wrong answers under churn",
                most=0, aim=0, unit="", measured=Figure(wrong, wrong, wrong),
            ),
        ],
        charts={
            "churn": chart.over_time(
                title,
                f"{note}; the gateway's memory, MiB, and open descriptors",
                [chart.Panel("", [
                    ("resident set", [(held.at_s, held.rss_mib) for held in moments]),
                    ("descriptors", [(held.at_s, held.descriptors) for held in moments]),
                ])],
            ),
            "churn-watched": chart.over_time(
                title,
                f"{note}; tasks watched, as the gateway and as Redis count them",
                [chart.Panel("", [
                    ("gateway", [(held.at_s, held.watched) for held in moments]),
                    ("Redis", [(held.at_s, held.channels) for held in moments]),
                ])],
            ),
        },
    )  # fmt: skip


def _median(moments: Sequence[Held], of: Callable[[Held], float]) -> float:
    return statistics.median(of(held) for held in moments)
