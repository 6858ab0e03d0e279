"""Documents: HTTP → stored in MongoDB against PyMongo's raw `insert_many`, everything here."""

import asyncio
import dataclasses
import time
from dataclasses import dataclass, field
from typing import Any

from pymongo import AsyncMongoClient

from bench import programs, table
from bench.contestants import BARE, GATEWAY
from bench.documents import json_body, ndjson
from bench.figures import Figure, paired
from bench.gateways import DOCUMENT_WORKER, serving
from bench.goals import Goal
from bench.processes import Running
from bench.report import Context, Report
from bench.rounds import Sample, run_once
from bench.servers import Servers
from bench.usage import cpu_s

_DOCUMENTS_A_BODY = 10_000
_CONNECTIONS = 8
_STORED_WITHIN_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sustained:
    """One round of NDJSON bodies."""

    raw_rate: float
    """Documents a second by insert_many(1000), journaled."""
    rate: float
    """Documents a second from HTTP to MongoDB, measured in MongoDB."""
    gateway_us: float
    """The gateway's processor time for each document."""
    seconds: float
    statuses: dict[str, int] = field(default_factory=dict)


async def sustained(context: Context, seconds: float, rounds: int) -> Report:
    """NDJSON bodies of 10,000 documents, `?ack=stored`, for so long; rounds with the raw insert.

    Raises:
        StartError: Something failed.
    """
    done = []
    servers = context.servers
    async with serving(servers, workers=[DOCUMENT_WORKER]) as [gateway]:
        await _sustained_round(servers, gateway, "warm", 2.0)
        for number in range(rounds):
            done.append(await _sustained_round(servers, gateway, f"round{number}", seconds))
            context.tell(
                f"ingest {number + 1}/{rounds}  raw {done[-1].raw_rate:,.0f} documents/s  "
                f"gateway to MongoDB {done[-1].rate:,.0f} documents/s  {done[-1].statuses}"
            )
    raw, ours = [one.raw_rate for one in done], [one.rate for one in done]
    return Report(
        name="ingest",
        data=done,
        text=table.rows(
            ("way", "documents/s", "gateway CPU µs/document", "does not give"),
            [
                (
                    "PyMongo insert_many(1000), j: true",
                    Figure.of(raw).told(),
                    "–",
                    "HTTP, checks, a queue, retries",
                ),
                (
                    "POST /v1/ingest, NDJSON → RabbitMQ → worker → MongoDB",
                    Figure.of(ours).told(),
                    Figure.of(one.gateway_us for one in done).told(1),
                    "–",
                ),
            ],
        ),
        goals=[
            Goal(
                what=f"ingest of NDJSON bodies to MongoDB over {seconds:g} s against insert_many",
                least=0.4,
                aim=0.6,
                unit="×",
                measured=paired(ours, raw),
            )
        ],
    )


async def _sustained_round(
    servers: Servers, gateway: Running, name: str, seconds: float
) -> Sustained:
    raw_s = max(1.0, seconds / 4)
    raw = await programs.run("bench.apps.raw_insert", raw_s, f"raw-{name}", env=servers.env)
    body = servers.folder / "documents.ndjson"
    body.write_bytes(ndjson(_DOCUMENTS_A_BODY))
    before = cpu_s(gateway.pid)
    posted = await programs.run(
        "bench.apps.poster", "loop", f"{gateway.url}/v1/ingest/{name}?ack=stored&wait=60", body,
        "application/x-ndjson", seconds, _CONNECTIONS, env={},
    )  # fmt: skip
    used = cpu_s(gateway.pid) - before
    stored = await _count(servers, name)
    await _drop(servers, f"raw-{name}", name)
    return Sustained(
        raw_rate=raw["documents"] / raw["seconds"],
        rate=stored / posted["seconds"],
        gateway_us=used * 1e6 / max(1, stored),
        seconds=posted["seconds"],
        statuses=posted["statuses"],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Single:
    """One round of single documents."""

    bare: Sample
    gateway: Sample
    stored: int
    stored_after_s: float
    """From the last answer until MongoDB had all of them."""


async def single(context: Context) -> Report:
    """Single documents against the bare handler, all of them stored soon after.

    Raises:
        StartError: Something failed, or documents were not stored.
    """
    done = []
    servers, plan = context.servers, context.plan
    headers = {**GATEWAY.headers}
    bare = _ingesting(BARE, {})
    async with serving(
        servers, [bare, _ingesting(GATEWAY, headers)], workers=[DOCUMENT_WORKER]
    ) as running:
        for number in range(plan.rounds):
            pair = {}
            for one in running[:: 1 if number % 2 else -1]:
                pair[one.contestant.name] = await run_once(one, servers, plan.load, plan)
            accepted = pair["gateway"].requests - pair["gateway"].failed
            stored, after_s = await _stored(servers, "single", accepted)
            await _drop(servers, "single")
            done.append(
                Single(
                    bare=pair["bare"],
                    gateway=pair["gateway"],
                    stored=stored,
                    stored_after_s=after_s,
                )
            )
            context.tell(
                f"single documents {number + 1}/{plan.rounds}  bare {pair['bare'].rate:,.0f}/s  "
                f"gateway {pair['gateway'].rate:,.0f}/s  {stored} of {accepted} stored "
                f"{after_s:.1f} s later"
            )
    return Report(
        name="single-documents",
        data=done,
        text=table.rows(
            ("single documents", "requests/s", "CPU µs/request", "stored after s"),
            [
                (
                    "bare aiohttp handler, publishes nothing",
                    Figure.of(one.bare.rate for one in done).told(),
                    Figure.of(one.bare.cpu_us for one in done).told(),
                    "never",
                ),
                (
                    "POST /v1/ingest, one document",
                    Figure.of(one.gateway.rate for one in done).told(),
                    Figure.of(one.gateway.cpu_us for one in done).told(),
                    Figure.of(one.stored_after_s for one in done).told(1),
                ),
            ],
        ),
        goals=[
            Goal(
                what="single-document ingest against the bare handler",
                least=0.5,
                aim=0.6,
                unit="×",
                measured=paired(
                    [one.gateway.rate for one in done], [one.bare.rate for one in done]
                ),
            )
        ],
    )


def _ingesting(contestant: Any, headers: dict[str, str]) -> Any:
    return dataclasses.replace(
        contestant, path="/v1/ingest/single", body=json_body(1), headers=headers, publishes=False
    )


async def _stored(servers: Servers, collection: str, expected: int) -> tuple[int, float]:
    """Wait until that many documents are there: how many, and after how long."""
    started = time.monotonic()
    while True:
        stored = await _count(servers, collection)
        waited = time.monotonic() - started
        if stored >= expected or waited > _STORED_WITHIN_S:
            return stored, waited
        await asyncio.sleep(0.1)


async def _count(servers: Servers, collection: str) -> int:
    assert servers.mongo is not None
    async with AsyncMongoClient[dict[str, Any]](servers.mongo.url) as client:
        return await client.get_default_database()[collection].count_documents({})


async def _drop(servers: Servers, *collections: str) -> None:
    assert servers.mongo is not None
    async with AsyncMongoClient[dict[str, Any]](servers.mongo.url) as client:
        for name in collections:
            await client.get_default_database()[name].drop()
