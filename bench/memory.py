"""The gateway's memory while 1 GB of NDJSON streams through."""

import asyncio
import time
from dataclasses import dataclass

import aiohttp

from bench import programs, table
from bench.documents import ndjson
from bench.figures import Figure
from bench.gateways import serving
from bench.goals import Goal
from bench.processes import Running
from bench.report import Context, Report
from bench.usage import cpu_s, rss_bytes
from devstack import chart

_MIB = 1024 * 1024
_GIGABYTE = 1_000_000_000
_SAMPLE_EVERY_S = 0.25
_GAUGE = "penstock_inflight_bytes"
_NO_LIMIT_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One look at the process."""

    at_s: float
    rss_mib: float
    in_flight_mib: float


async def stream(context: Context, size: int = _GIGABYTE) -> Report:
    """Post one endless body and watch the process.

    Raises:
        StartError: Something failed.
    """
    servers = context.servers
    body = servers.folder / "documents.ndjson"
    body.write_bytes(ndjson(2000))
    async with serving(servers, env={"METRICS_PUBLIC": "1"}) as [gateway]:
        before = cpu_s(gateway.pid)
        watching = asyncio.create_task(_watch(gateway), name="watch-memory")
        posted = await programs.run(
            "bench.apps.poster", "stream", f"{gateway.url}/v1/ingest/stream", body,
            "application/x-ndjson", _NO_LIMIT_S, size, env={},
        )  # fmt: skip
        watching.cancel()
        used = cpu_s(gateway.pid) - before
        moments = await watching
    await servers.purge(("mongo_queue",))
    rss = Figure.of(moment.rss_mib for moment in moments)
    half = len(moments) // 2
    growth = (
        Figure.of(m.rss_mib for m in moments[half:]).high
        - Figure.of(m.rss_mib for m in moments[: half or 1]).high
    )
    in_flight = max(moment.in_flight_mib for moment in moments)
    seconds = posted["seconds"]
    context.tell(f"1 GB: {seconds:.0f} s, RSS up to {rss.high:.0f} MiB")
    told = [
        ("streamed, MB", f"{posted['bytes'] / 1e6:,.0f}"),
        ("documents", f"{posted['lines']:,}"),
        ("status", str(posted["status"])),
        ("accepted", f"{posted['answer'].get('accepted', 0):,}"),
        ("MB/s", f"{posted['bytes'] / 1e6 / seconds:,.1f}"),
        ("gateway CPU, ns a byte", f"{used * 1e9 / posted['bytes']:.1f}"),
        ("RSS, MiB", rss.told()),
        ("highest of the second half above the first's, MiB", f"{growth:.1f}"),
        ("most in flight, MiB", f"{in_flight:.1f}"),
    ]
    return Report(
        name="memory",
        data={"moments": moments, "posted": {**posted, "answer": None}},
        text=table.rows(("1 GB of NDJSON in one request", ""), told),
        goals=[
            Goal(
                what="RSS while 1 GB streams through, highest",
                most=150,
                aim=150,
                unit="MiB",
                measured=Figure(rss.high, rss.low, rss.high),
            ),
            Goal(
                what="bytes in flight",
                most=64,
                aim=64,
                unit="MiB",
                measured=Figure(in_flight, in_flight, in_flight),
            ),
        ],
        charts={
            "memory": chart.over_time(
                "Memory of the gateway while 1 GB of NDJSON streams through",
                "resident set, MiB; below: bytes in flight",
                [
                    chart.Panel(
                        "MiB",
                        [
                            ("resident set", [(m.at_s, m.rss_mib) for m in moments]),
                            ("in flight", [(m.at_s, m.in_flight_mib) for m in moments]),
                        ],
                    )
                ],
            )
        },
    )


async def _watch(gateway: Running) -> list[Moment]:
    """Look four times a second until cancelled."""
    moments: list[Moment] = []
    started = time.monotonic()
    async with aiohttp.ClientSession() as session:
        try:
            while True:
                async with session.get(f"{gateway.url}/metrics") as response:
                    text = await response.text()
                in_flight = next(
                    (float(line.split()[1]) for line in text.splitlines() if _is_gauge(line)), 0.0
                )
                moments.append(
                    Moment(
                        at_s=time.monotonic() - started,
                        rss_mib=rss_bytes(gateway.pid) / _MIB,
                        in_flight_mib=in_flight / _MIB,
                    )
                )
                await asyncio.sleep(_SAMPLE_EVERY_S)
        except asyncio.CancelledError:
            return moments


def _is_gauge(line: str) -> bool:
    return line.startswith(_GAUGE)
