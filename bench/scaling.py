"""Does cost grow linearly: submits over connections, documents over the size of a request."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from bench import table
from bench.contestants import BARE, GATEWAY
from bench.documents import json_body
from bench.figures import Figure
from bench.gateways import serving
from bench.report import Context, Report
from bench.rounds import Sample, run_once
from bench.wrk import Load
from devstack import chart

CONNECTIONS = (16, 64, 256, 1024)
DOCUMENTS = (1, 10, 100, 10_000)
_ROUNDS = 3
"""At most: a plot, not a judgement."""


async def submits(context: Context) -> Report:
    """The gateway and the bare handler at 16 to 1,024 connections.

    Raises:
        StartError: Something failed.
    """
    plan = context.plan
    rounds = min(plan.rounds, _ROUNDS)
    samples: dict[str, dict[int, list[Sample]]] = defaultdict(lambda: defaultdict(list))
    async with serving(context.servers, [GATEWAY, BARE]) as running:
        for number in range(rounds):
            for connections in CONNECTIONS:
                load = Load(connections=connections, seconds=plan.load.seconds)
                for one in running:
                    sample = await run_once(one, context.servers, load, plan)
                    samples[one.contestant.title][connections].append(sample)
                    context.tell(
                        f"scaling {number + 1}/{rounds}  "
                        f"{connections:>5} connections  "
                        f"{one.contestant.title:<24}{sample.rate:>9,.0f}/s {sample.cpu_us:.0f} µs"
                    )
    lines = [
        chart.Line(
            title, [(x, Figure.of(one.rate for one in taken)) for x, taken in by_count.items()]
        )
        for title, by_count in samples.items()
    ]
    rows = [
        (title, str(x), *_cells(taken))
        for title, by_count in samples.items()
        for x, taken in by_count.items()
    ]
    return Report(
        name="scaling-submits",
        data=_plain(samples),
        text=table.rows(
            ("", "connections", "requests/s", "CPU µs/request", "p99 ms", "failed"), rows
        ),
        charts={
            "submit-scaling": chart.lines(
                "Submits per second over connections",
                f"median of {rounds} rounds; every answer is a confirmed message",
                "connections",
                lines,
            )
        },
    )


async def documents(context: Context) -> Report:
    """Ingest of 1 to 10,000 documents a request; nothing consumes, the queue is emptied.

    Raises:
        StartError: Something failed.
    """
    plan = context.plan
    rounds = min(plan.rounds, _ROUNDS)
    samples: dict[int, list[Sample]] = defaultdict(list)
    async with serving(context.servers) as [gateway]:
        for number in range(rounds):
            for count in DOCUMENTS:
                gateway.contestant = replace(
                    GATEWAY, path="/v1/ingest/scaling", body=json_body(count)
                )
                load = Load(connections=64 if count < 1000 else 16, seconds=plan.load.seconds)
                sample = await run_once(gateway, context.servers, load, plan)
                await context.servers.purge(("mongo_queue",))
                samples[count].append(sample)
                context.tell(
                    f"scaling {number + 1}/{rounds}  "
                    f"{count:>6} documents a request  "
                    f"{sample.rate * count:>9,.0f} documents/s  {sample.cpu_us / count:.1f} µs each"
                )
    costs = [
        (count, Figure.of(one.cpu_us / count for one in taken)) for count, taken in samples.items()
    ]
    rates = [
        (count, Figure.of(one.rate * count for one in taken)) for count, taken in samples.items()
    ]
    return Report(
        name="scaling-documents",
        data={str(count): taken for count, taken in samples.items()},
        text=table.rows(
            ("documents a request", "documents/s", "gateway CPU µs/document"),
            [
                (f"{count:,}", rate.told(), cost.told(1))
                for (count, rate), (_, cost) in zip(rates, costs, strict=True)
            ],
        ),
        charts={
            "ingest-scaling": chart.lines(
                "Documents per second over documents a request",
                f"median of {rounds} rounds, confirmed by RabbitMQ",
                "documents a request",
                [chart.Line("documents/s", rates)],
            ),
            "ingest-cost": chart.lines(
                "Processor time per document, µs",
                f"the gateway process, median of {rounds} rounds",
                "documents a request",
                [chart.Line("µs a document", costs)],
                digits=1,
            ),
        },
    )


def _cells(taken: Sequence[Sample]) -> tuple[str, str, str, str]:
    return (
        Figure.of(one.rate for one in taken).told(),
        Figure.of(one.cpu_us for one in taken).told(),
        f"{Figure.of(one.p99_ms for one in taken).median:.1f}",
        str(sum(one.failed for one in taken)),
    )


def _plain(samples: Mapping[str, Mapping[int, Sequence[Sample]]]) -> Any:
    return {
        title: {str(x): taken for x, taken in by_count.items()}
        for title, by_count in samples.items()
    }
