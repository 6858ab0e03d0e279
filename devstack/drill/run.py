"""One drill from the start of the stack to the verdict."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devstack import otlp
from devstack.drill.alarms import Absence, Alarm, sample_problems, unexplained
from devstack.drill.client import Client
from devstack.drill.director import Director, Episode
from devstack.drill.faults import FAULTS, STOCK_FAULTS, Scene
from devstack.drill.history import compare_history
from devstack.drill.ingest_load import IngestLoad
from devstack.drill.load import Steady, SubmitLoad
from devstack.drill.picture import draw
from devstack.drill.receipts import Ledger
from devstack.drill.reconcile import Findings, reconcile
from devstack.drill.records import read_holdings, wait_until_ended
from devstack.drill.rig import GATEWAYS, Rig, running_rig
from devstack.drill.sampling import Sampling
from devstack.drill.slots import find_lost_slots
from devstack.drill.stock.books import read_stock, reconcile_stock
from devstack.drill.stock.layout import queue_of, worker_of
from devstack.drill.stock.load import StockLoad
from devstack.drill.stock.receiver import receiving
from devstack.drill.timeline import Timeline
from devstack.drill.traces import environment, reconcile_traces
from devstack.drill.watch import read_states, sample_memory, sample_processors

WARM_UP_S = 5.0
LAST_LOAD_S = 8.0
"""Load after the last healing, which shows that it was one."""
QUIET_WITHIN_S = 90.0
"""How long no task may end while some are open, before these count as never ended."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a drill can be told."""

    folder: Path
    """Data, logs, and the timeline."""
    minutes: float
    """How long things are broken; 0: until each fault was struck once."""
    faults: tuple[str, ...]
    """Which."""
    seed: int
    """Of everything that is left to chance."""
    submits: float = 40.0
    """Tasks a second."""
    ingests: float = 12.0
    """Ingest requests a second."""
    batch: int = 150
    """Documents in a batch, on average."""
    pairs: float = 0.35
    """How often two things break at once, from 0 to 1."""
    quiet_s: tuple[float, float] = (5.0, 9.0)
    """Time to recover between a healing and the next fault."""
    stock: tuple[str, ...] = ()
    """Versions of stock Celery with queues of their own, whose tasks are submitted besides."""
    stock_submits: float = 12.0
    """Of those, tasks a second."""
    traces: float = 0.0
    """Share of the requests that are traced, from 0 to 1; 0: tracing is off."""


@dataclass(slots=True, kw_only=True)
class Result:
    """What came out."""

    ledger: Ledger
    findings: Findings
    timeline: Timeline
    episodes: list[Episode]
    left_out: tuple[str, ...]
    """Faults that were not struck, for want of time."""
    quiet_after_s: float
    """From the end of the load until all had ended."""
    picture: Path
    rabbitmq: str
    """Its version."""


async def drill(settings: Settings, tell: Callable[[str], None]) -> Result:
    """Run it.

    Raises:
        StartError: the stack did not start.
    """
    ledger = Ledger()
    async with (
        otlp.receiving() as spans,
        running_rig(
            settings.folder,
            lambda name, state: tell(f"{name}: {state}"),
            settings.stock,
            environment(spans) if settings.traces else None,
        ) as rig,
        receiving(settings.seed) as receiver,
    ):
        client = Client(rig.gateways, ledger, settings.seed)
        await client.open()
        timeline = Timeline(time.time())
        sampling = Sampling(settings.traces, settings.seed)
        submits = SubmitLoad(client, ledger, settings.seed, sampling)
        ingests = IngestLoad(client, ledger, settings.seed, settings.batch, sampling)
        scene = Scene(rig, ledger, submits, random.Random(settings.seed))  # noqa: S311  # no secret
        stock = StockLoad(client, settings.stock, receiver.url, settings.seed)
        faults = [{**FAULTS, **STOCK_FAULTS}[name] for name in settings.faults]
        director = Director(scene, faults, settings.pairs, settings.quiet_s, tell)
        alarms: list[Alarm] = []
        async with _sampled(rig, client, ledger, timeline, alarms):
            load = [Steady(settings.submits, submits.one), Steady(settings.ingests, ingests.one)]
            if settings.stock:
                load.append(Steady(settings.stock_submits, stock.one))
            await _under_load(load, director, settings.minutes, stock.watch)
        tell("waiting for quiet")
        ids = _ids(ledger)
        took_s = await wait_until_ended(rig.stack.redis.url, ids, QUIET_WITHIN_S)
        seen = await read_stock(stock, receiver, settings.folder, QUIET_WITHIN_S)
        await client.close()
        tell(f"reconciling after {took_s:.1f} s")
        holdings = await read_holdings(rig.servers, [*ids, *ledger.foreign])
        findings = reconcile(ledger, holdings)
        reconcile_stock(stock.ledger, seen, findings)
        await compare_history(rig.servers.mongo_url, holdings, findings)
        await find_lost_slots(rig, settings.folder, findings)
        if settings.traces:  # that took longer than the last export
            reconcile_traces(ledger, holdings, spans, director.episodes, findings)
        findings.counts["problems reported"] = len({(one.code, one.subject) for one in alarms})
        if settings.minutes:  # a busy machine reports late what a short drill has long healed
            for alarm in unexplained(alarms, director.episodes, _absences(rig, settings.stock)):
                findings.fault("false alarm", alarm)
        stock_workers = {worker_of(version) for version in settings.stock}
        for name, part in rig.parts.items():
            if name in stock_workers:  # Celery's own, when Redis is away
                findings.counts["stock workers that died by themselves"] += len(part.deaths)
                continue
            for death in part.deaths:
                findings.fault("died by itself", death.told)
        for episode in director.episodes:
            if episode.trouble:
                findings.fault("fault not healed", (episode.title, episode.trouble))
        timeline.add_books(ledger, holdings)
        picture = settings.folder / "timeline.svg"
        picture.write_text(draw(timeline, director.episodes, time.time()), encoding="utf-8")
        version = await rig.rabbitmq_version()
        await rig.stack.rabbit.settle()
    return Result(
        ledger=ledger,
        findings=findings,
        timeline=timeline,
        episodes=director.episodes,
        left_out=director.left_out,
        quiet_after_s=took_s,
        picture=picture,
        rabbitmq=version,
    )


def _absences(rig: Rig, versions: Iterable[str]) -> list[Absence]:
    return [
        Absence(queue=queue_of(version), began=death.at, ended=death.back_at)
        for version in versions
        for death in rig.parts[worker_of(version)].deaths
    ]


async def _under_load(
    load: Iterable[Steady],
    director: Director,
    minutes: float,
    watch: Callable[[], Coroutine[Any, Any, None]],
) -> None:
    stopping = asyncio.Event()
    watching = asyncio.create_task(watch(), name="watch stock")
    async with asyncio.TaskGroup() as group:
        for each in load:
            group.create_task(each.run(stopping))
        try:
            await asyncio.sleep(WARM_UP_S)
            await director.run(time.monotonic() + minutes * 60 if minutes else None)
            await asyncio.sleep(LAST_LOAD_S)
        finally:
            stopping.set()
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)


@contextlib.asynccontextmanager
async def _sampled(
    rig: Rig, client: Client, ledger: Ledger, timeline: Timeline, alarms: list[Alarm]
) -> AsyncIterator[None]:
    samplers = [
        asyncio.create_task(sample_memory(rig, timeline), name="sample memory"),
        asyncio.create_task(sample_processors(timeline), name="sample processors"),
    ]
    samplers += [
        asyncio.create_task(read_states(client, ledger, timeline, place), name="read states")
        for place in range(len(GATEWAYS))
    ]
    samplers += [
        asyncio.create_task(sample_problems(url, name, alarms), name="sample problems")
        for url, name in zip(rig.gateways, GATEWAYS, strict=True)
    ]
    try:
        yield
    finally:
        for sampler in samplers:
            sampler.cancel()
        await asyncio.gather(*samplers, return_exceptions=True)


def _ids(ledger: Ledger) -> set[str]:
    tasks = {one for task in ledger.tasks if task.outcome == "accepted" for one in task.ids}
    return tasks | {batch for ingest in ledger.ingests for batch in ingest.batches}
