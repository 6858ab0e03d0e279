"""Interleaved rounds: every contestant once per round, in turns: a noisy minute hits all."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench.contestants import Contestant
from bench.processes import Running
from bench.servers import Servers
from bench.usage import cpu_s
from bench.wrk import Load, Outcome, drive

_WARM_UP = Load(connections=64, seconds=1)
_SETTLE_S = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is measured."""

    rounds: int = 7
    load: Load = field(default_factory=Load)
    seconds: float = 0.0
    """Length of one run, where a part takes it; 0: its own."""
    tasks: int = 0
    """How many tasks a soak has; 0: its own number."""
    server_cpus: str = ""
    """Processors of the contestants (taskset); empty: all."""
    load_cpus: str = ""
    """Processors of wrk; empty: all."""
    tree: Path | None = None
    """Another checkout to measure beside this one, where a part does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One contestant in one round."""

    rate: float
    """Successful requests each second."""
    cpu_us: float
    """Processor time of the server process for each request, microseconds."""
    broker_us: float
    """Processor time of RabbitMQ for each request, microseconds."""
    p50_ms: float
    p99_ms: float
    requests: int
    failed: int
    """Requests without a 2xx answer."""
    queued: int
    """Messages that the queue held afterwards."""


Samples = dict[str, list[Sample]]


async def measure(
    contestants: Sequence[Contestant],
    servers: Servers,
    plan: Plan,
    tell: Callable[[str], None],
) -> Samples:
    """Start every contestant and measure it `plan.rounds` times.

    Raises:
        StartError: One did not start, or wrk failed.
    """
    samples: Samples = defaultdict(list)
    async with AsyncExitStack() as stack:
        running: list[Running] = []
        for contestant in contestants:
            one = Running(contestant, servers, cpus=plan.server_cpus)
            stack.push_async_callback(one.process.kill)
            await one.process.start()
            await run_once(one, servers, _WARM_UP, plan)
            running.append(one)
        for number in range(plan.rounds):
            shift = number % len(running)
            for one in running[shift:] + running[:shift]:
                sample = await run_once(one, servers, plan.load, plan)
                samples[one.contestant.name].append(sample)
                tell(
                    f"round {number + 1}/{plan.rounds}  {one.contestant.title:<52}"
                    f"{sample.rate:>9,.0f}/s {sample.cpu_us:>7.1f} µs"
                )
    return dict(samples)


async def run_once(one: Running, servers: Servers, load: Load, plan: Plan) -> Sample:
    """One run of wrk against one contestant, the queue empty before and after."""
    rabbit = servers.rabbit.child.pid
    before, broker_before = cpu_s(one.pid), cpu_s(rabbit)
    contestant = one.contestant
    outcome = await drive(
        one.url + contestant.path, contestant.body, contestant.headers, load, cpus=plan.load_cpus
    )
    used, broker_used = cpu_s(one.pid) - before, cpu_s(rabbit) - broker_before
    await asyncio.sleep(_SETTLE_S)  # unconfirmed publishes of peers are still on their way
    queued = await servers.purge()
    return _sample(outcome, used, broker_used, queued)


def _sample(outcome: Outcome, used_s: float, broker_s: float, queued: int) -> Sample:
    requests = max(1, outcome.requests)
    return Sample(
        rate=outcome.rate,
        cpu_us=used_s * 1e6 / requests,
        broker_us=broker_s * 1e6 / requests,
        p50_ms=outcome.p50_ms,
        p99_ms=outcome.p99_ms,
        requests=outcome.requests,
        failed=outcome.failed,
        queued=queued,
    )
