"""What history costs submits and workers: the same gateway and worker with its streams and without.

With history the gateway writes each accepted task into a stream of Redis after it has answered,
and the worker's scripts each change of state. The process that reads them is not started: it would
take processor time from both, and none of theirs. What is compared is the processor time of the
gateway and of the worker; rates are told beside. What Redis spends is in the part `history`.

    python -m bench history-beside [--rounds 7]
"""

from collections import defaultdict
from dataclasses import replace
from typing import Any

import redis.asyncio

from bench import rounds, table
from bench.contestants import GATEWAY
from bench.draining import drained
from bench.figures import Figure, paired
from bench.goals import Goal
from bench.report import Context, Report
from bench.servers import Servers
from bench.workers import POOLS
from penstock.wire.keys import (
    HISTORY_ACCEPTED,
    HISTORY_CHANGES,
    HISTORY_LARGE_REQUESTS,
    HISTORY_REQUESTS,
)

_STREAMS = {
    HISTORY_ACCEPTED: "a", HISTORY_CHANGES: "k", HISTORY_REQUESTS: "r",
    HISTORY_LARGE_REQUESTS: "r",
}  # fmt: skip
"""Streams that a history process makes, and the field of their entries."""
_WITHOUT, _WITH = "without history", "with history"
_TASKS = ({"task": "demo.plus", "args": [2, 3]},)
_POOLS = ("asyncio", "threads", "prefork")
_MOST = 1.03


async def compare(context: Context) -> Report:
    """Measure the gateway and each pool, with history and without, in turns.

    Raises:
        StartError: Something failed.
    """
    costs: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    rates: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for number in range(context.plan.rounds):
        for part in ("gateway", *_POOLS):
            for way in (_WITHOUT, _WITH)[:: 1 if number % 2 else -1]:
                await _prepare(context.servers, history=way is _WITH)
                rate, cost_us = await _run(context, part)
                rates[part][way].append(rate)
                costs[part][way].append(cost_us)
                context.tell(
                    f"history beside {number + 1}/{context.plan.rounds}  {part:<10} {way:<16}"
                    f"{rate:>7,.0f}/s {cost_us:>7,.1f} µs"
                )
    ratios = {part: paired(found[_WITH], found[_WITHOUT]) for part, found in costs.items()}
    slower = {part: paired(found[_WITHOUT], found[_WITH]) for part, found in rates.items()}
    return Report(
        name="history-beside",
        data={"cpu_us": _plain(costs), "rates": _plain(rates)},
        text=table.rows(
            ("CPU of a task", _WITHOUT, _WITH, "ratio", "rate without/with"),
            [
                (
                    part,
                    *(Figure.of(found[way]).told(1) for way in (_WITHOUT, _WITH)),
                    ratios[part].told(3),
                    slower[part].told(3),
                )
                for part, found in costs.items()
            ],
        ),
        goals=[
            Goal(
                what=f"CPU of {part} with history, of that without",
                most=_MOST, aim=_MOST, unit="×", measured=ratios[part],
            )
            for part in ("gateway", *_POOLS)
        ],
    )  # fmt: skip


async def _run(context: Context, part: str) -> tuple[float, float]:
    """Return tasks a second, and microseconds of processor time for each."""
    if part == "gateway":
        once = replace(context.plan, rounds=1)
        [sample] = (await rounds.measure([GATEWAY], context.servers, once, _quiet))[GATEWAY.name]
        return sample.rate, sample.cpu_us
    one = await drained(context.servers, POOLS[part], _TASKS)
    return one.rate, one.cpu_us


async def _prepare(servers: Servers, *, history: bool) -> None:
    """Empty Redis, and make what a history process makes."""
    async with redis.asyncio.Redis.from_url(servers.redis.url) as client:
        await client.flushall()
        if history:
            for key, field in _STREAMS.items():
                await client.xadd(key, {field: ""})


def _plain(found: dict[str, dict[str, list[float]]]) -> dict[str, Any]:
    return {part: dict(ways) for part, ways in found.items()}


def _quiet(line: str) -> None:
    """The line of one round says nothing that a table does not."""
