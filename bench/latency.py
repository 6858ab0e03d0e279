"""What batching adds on an idle gateway: one connection, one request at a time."""

from dataclasses import dataclass, replace

from bench import table
from bench.contestants import GATEWAY
from bench.documents import json_body
from bench.figures import Figure, difference
from bench.gateways import serving
from bench.goals import Goal
from bench.report import Context, Report
from bench.wrk import Load, drive


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """p50 of each, milliseconds."""

    submit_p50_ms: float
    ingest_p50_ms: float
    submit_p99_ms: float
    ingest_p99_ms: float


async def added(context: Context) -> Report:
    """Compare a single document with a plain confirmed publish.

    Raises:
        StartError: Something failed.
    """
    servers, plan = context.servers, context.plan
    load = Load(connections=1, seconds=plan.load.seconds)
    ingesting = replace(GATEWAY, path="/v1/ingest/single", body=json_body(1))
    rounds = []
    async with serving(servers) as [gateway]:
        for number in range(plan.rounds):
            outcomes = {}
            for one in (GATEWAY, ingesting)[:: 1 if number % 2 else -1]:
                outcomes[one.path] = await drive(
                    gateway.url + one.path, one.body, one.headers, load
                )
            await servers.purge(("default", "mongo_queue"))
            submit, ingest = outcomes[GATEWAY.path], outcomes[ingesting.path]
            rounds.append(
                Round(
                    submit_p50_ms=submit.p50_ms,
                    ingest_p50_ms=ingest.p50_ms,
                    submit_p99_ms=submit.p99_ms,
                    ingest_p99_ms=ingest.p99_ms,
                )
            )
            context.tell(
                f"idle {number + 1}/{plan.rounds}  submit {submit.p50_ms:.2f} ms  "
                f"single document {ingest.p50_ms:.2f} ms"
            )
    submits = [one.submit_p50_ms for one in rounds]
    ingests = [one.ingest_p50_ms for one in rounds]
    return Report(
        name="idle-latency",
        data=rounds,
        text=table.rows(
            ("one request at a time", "p50 ms", "p99 ms"),
            [
                (
                    "submit",
                    Figure.of(submits).told(2),
                    Figure.of(one.submit_p99_ms for one in rounds).told(2),
                ),
                (
                    "single document",
                    Figure.of(ingests).told(2),
                    Figure.of(one.ingest_p99_ms for one in rounds).told(2),
                ),
            ],
        ),
        goals=[
            Goal(
                what="latency that batching adds on an idle gateway, p50",
                most=0.2,
                aim=0.2,
                unit="ms",
                measured=difference(ingests, submits),
            )
        ],
    )
