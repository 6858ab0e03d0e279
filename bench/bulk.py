"""Bulk NDJSON tasks over HTTP against pre-encoded frames on RabbitMQ's socket."""

import json
from dataclasses import dataclass

from bench import programs, table
from bench.figures import Figure, paired
from bench.gateways import serving
from bench.goals import Goal
from bench.processes import Running
from bench.report import Context, Report
from bench.servers import Servers
from bench.usage import cpu_s

_NO_LIMIT = 1 << 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One round of both."""

    raw_rate: float
    """Messages confirmed each second on the plain socket."""
    raw_cpu_us: float
    message_bytes: int
    bulk_rate: float
    """Lines accepted each second through the gateway."""
    bulk_cpu_us: float
    """The gateway's processor time for each line."""
    broker_raw_us: float
    broker_bulk_us: float


async def compare(context: Context) -> Report:
    """Both in turns; the queue is emptied in between.

    Raises:
        StartError: Something failed.
    """
    rounds = []
    async with serving(context.servers) as [gateway]:
        for number in range(context.plan.rounds):
            rounds.append(await _round(context.servers, gateway, context.plan.load.seconds))
            one = rounds[-1]
            context.tell(
                f"bulk {number + 1}/{context.plan.rounds}  raw {one.raw_rate:,.0f}/s  "
                f"bulk {one.bulk_rate:,.0f}/s  {one.bulk_cpu_us:.1f} µs a line"
            )
    bulk_rates, raw_rates = [r.bulk_rate for r in rounds], [r.raw_rate for r in rounds]
    costs = Figure.of(one.bulk_cpu_us for one in rounds)
    text = table.rows(
        ("publisher", "messages/s", "CPU µs/message", "RabbitMQ µs/message", "does not give"),
        [
            (
                "pre-encoded frames on a plain socket",
                Figure.of(raw_rates).told(),
                Figure.of(one.raw_cpu_us for one in rounds).told(1),
                Figure.of(one.broker_raw_us for one in rounds).told(1),
                "HTTP, parsing, ids, keys, argument check",
            ),
            (
                "POST /v1/tasks/bulk, NDJSON",
                Figure.of(bulk_rates).told(),
                costs.told(1),
                Figure.of(one.broker_bulk_us for one in rounds).told(1),
                "–",
            ),
        ],
    )
    return Report(
        name="bulk",
        data=rounds,
        text=text,
        goals=[
            Goal(
                what="bulk NDJSON tasks against the raw socket publisher",
                least=0.5,
                aim=0.8,
                unit="×",
                measured=paired(bulk_rates, raw_rates),
            ),
            Goal(what="CPU of a bulk line", most=20, aim=20, unit="µs", measured=costs),
        ],
    )


async def _round(servers: Servers, gateway: Running, seconds: float) -> Round:
    rabbit = servers.rabbit.child.pid
    broker_0 = cpu_s(rabbit)
    raw = await programs.run("bench.apps.raw_publisher", seconds, env=servers.env)
    broker_1 = cpu_s(rabbit)
    await servers.purge()
    lines = servers.folder / "tasks.ndjson"
    lines.write_text((json.dumps({"task": "demo.add", "args": [2, 3]}) + "\n") * 1000)
    before, broker_2 = cpu_s(gateway.pid), cpu_s(rabbit)
    bulk = await programs.run(
        "bench.apps.poster", "stream", f"{gateway.url}/v1/tasks/bulk", lines,
        "application/x-ndjson", seconds, _NO_LIMIT, env={},
    )  # fmt: skip
    used, broker_3 = cpu_s(gateway.pid) - before, cpu_s(rabbit)
    await servers.purge()
    accepted = bulk["answer"].get("summary", {}).get("accepted", 0)
    return Round(
        raw_rate=raw["messages"] / raw["seconds"],
        raw_cpu_us=raw["cpu_s"] * 1e6 / raw["messages"],
        message_bytes=raw["message_bytes"],
        bulk_rate=accepted / bulk["seconds"],
        bulk_cpu_us=used * 1e6 / max(1, accepted),
        broker_raw_us=(broker_1 - broker_0) * 1e6 / raw["messages"],
        broker_bulk_us=(broker_3 - broker_2) * 1e6 / max(1, accepted),
    )
