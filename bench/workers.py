"""What a trivial task costs a worker: our pools against stock Celery, whatever each promises."""

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace

from bench.draining import Sample, Samples, drained, in_turns, told
from bench.figures import Figure, paired
from bench.goals import Goal
from bench.pools import Pool
from bench.report import Context, Report
from bench.servers import Servers, running
from devstack import chart
from devstack.certificates import make_certificates
from devstack.product import COROUTINES

OURS = Pool(
    name="asyncio",
    called="Penstock, asyncio",
    pool="asyncio",
    concurrency=1000,
    tasks=30_000,
)
_THREADS = Pool(
    name="stock-threads",
    called="Celery, threads, late acks, STARTED",
    application="bench.apps.stock_worker",
    pool="threads",
    concurrency=8,
)
_PREFORK = replace(
    _THREADS,
    name="stock-prefork",
    called="Celery, prefork, late acks, STARTED",
    pool="prefork",
    concurrency=2,
    tasks=2_000,
)
_EVENTS, _ALL = "with events", "as `make run`"

POOLS: Mapping[str, Pool] = {
    one.name: one
    for one in (
        OURS,
        replace(OURS, name="asyncio-events", called=f"{OURS.called}, {_EVENTS}", telling="events"),
        replace(
            OURS, name="asyncio-all", called=f"{OURS.called}, {_ALL}", telling="all",
            concurrency=COROUTINES,
        ),
        replace(OURS, name="asyncio-tls", called=f"{OURS.called}, over TLS", tls=True),
        replace(
            OURS, name="threads", called="Penstock, threads", pool="threads", concurrency=8,
            tasks=4_000,
        ),
        replace(
            OURS, name="threads-all", called=f"Penstock, threads, {_ALL}", pool="threads",
            concurrency=8, telling="all", tasks=2_500,
        ),
        replace(
            OURS, name="prefork", called="Penstock, prefork", pool="prefork", concurrency=2,
            tasks=3_000,
        ),
        _THREADS,
        replace(
            _THREADS, name="stock-threads-events", called=f"{_THREADS.called}, {_EVENTS}",
            telling="events",
        ),
        replace(
            _THREADS, name="stock-threads-all", called=f"{_THREADS.called}, {_ALL}",
            telling="all", tasks=2_000,
        ),
        _PREFORK,
        replace(
            _PREFORK, name="stock-prefork-defaults", called="Celery, prefork, its defaults",
            promises=False, tasks=3_000,
        ),
    )
}  # fmt: skip
"""Every contestant, by name."""

QUICK = ("asyncio", "asyncio-all", "stock-threads", "stock-threads-all", "stock-prefork-defaults")
"""Those of a quick run."""
_QUICK_ROUNDS = 2

_CHEAPER = (
    ("asyncio", "stock-threads", 10.0),
    ("asyncio-events", "stock-threads-events", 8.0),
    ("asyncio-all", "stock-threads-all", 8.0),
)
"""Who costs how many times less processor time than whom."""
_FASTER = (
    ("asyncio", "stock-prefork-defaults", 10.0),
    ("threads", "stock-threads", 0.9),
    ("prefork", "stock-prefork", 0.9),
    ("prefork", "stock-prefork-defaults", 0.9),
)
"""Who executes how many times more tasks a second than whom."""
_MOST_US = (("asyncio", 110.0), ("asyncio-tls", 250.0))

_PLUS = ({"task": "demo.plus", "args": [2, 3]},)


async def compare(context: Context, names: Sequence[str] = tuple(POOLS)) -> Report:
    """Each worker empties its queue, in turns.

    Args:
        context: Of the run.
        names: Contestants, from `POOLS`.

    Raises:
        StartError: Something failed.
    """
    pools = [POOLS[name] for name in names]
    async with _both(context.servers, tls=any(pool.tls for pool in pools)) as servers:
        samples = await in_turns(
            context, pools, lambda pool: drained(servers[pool.tls], pool, _PLUS)
        )
    return Report(
        name="workers",
        data=samples,
        text=told("a trivial task", pools, samples),
        goals=goals(samples),
        charts=_draw(pools, samples),
    )


async def glance(context: Context) -> Report:
    """Compare a few of them, twice.

    Raises:
        StartError: Something failed.
    """
    return await compare(replace(context, plan=replace(context.plan, rounds=_QUICK_ROUNDS)), QUICK)


@contextlib.asynccontextmanager
async def _both(plain: Servers, *, tls: bool) -> AsyncIterator[Mapping[bool, Servers]]:
    """Servers by whether they speak TLS."""
    if not tls:
        yield {False: plain}
        return
    async with running(tls=make_certificates(plain.folder / "certificates")) as secure:
        yield {False: plain, True: secure}


def _draw(pools: Sequence[Pool], samples: Samples) -> dict[str, str]:
    """The charts of docs/performance.md."""

    def bars(of: Callable[[Sample], float]) -> list[chart.Bar]:
        return [
            chart.Bar(one.title, Figure.of(map(of, samples[one.name])), one.pool == "asyncio")
            for one in pools
        ]

    note = "a trivial task; median of the rounds, line: lowest to highest"
    return {
        "worker-rate": chart.bars("Tasks per second of a worker", note, bars(lambda one: one.rate)),
        "worker-cpu": chart.bars(
            "Processor time of a worker per task, µs", note, bars(lambda one: one.cpu_us)
        ),
    }


def goals(samples: Samples) -> list[Goal]:
    """What the asyncio pool must reach, as far as its rivals were in this run."""
    found = []
    for name, rival, least in _CHEAPER:
        if name in samples and rival in samples:
            measured = paired(_costs(samples, rival), _costs(samples, name))
            what = f"CPU of a trivial task: {POOLS[rival].title}, over {POOLS[name].title}"
            found.append(Goal(what=what, least=least, aim=least, unit="×", measured=measured))
    for name, most in _MOST_US:
        if name in samples:
            what = f"CPU of a trivial task, {POOLS[name].title}"
            measured = Figure.of(_costs(samples, name))
            found.append(Goal(what=what, most=most, aim=most, unit="µs", measured=measured))
    for name, rival, least in _FASTER:
        if name in samples and rival in samples:
            measured = paired(_rates(samples, name), _rates(samples, rival))
            what = f"trivial tasks/s: {POOLS[name].title}, over {POOLS[rival].title}"
            found.append(Goal(what=what, least=least, aim=least, unit="×", measured=measured))
    return found


def _costs(samples: Samples, name: str) -> list[float]:
    return [one.cpu_us for one in samples[name]]


def _rates(samples: Samples, name: str) -> list[float]:
    return [one.rate for one in samples[name]]
