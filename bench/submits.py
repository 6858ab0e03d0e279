"""The comparison of submits: HTTP in, a persistent message in a quorum queue out."""

from collections.abc import Callable, Sequence

from bench import table
from bench.contestants import GATEWAY, Contestant
from bench.figures import Figure
from bench.goals import submit_goals
from bench.report import Context, Report
from bench.rounds import Plan, Sample, Samples, measure
from devstack import chart


async def compare(context: Context, contestants: Sequence[Contestant]) -> Report:
    """Measure every contestant in interleaved rounds.

    Raises:
        StartError: A contestant did not start.
    """
    samples = await measure(contestants, context.servers, context.plan, context.tell)
    for one in contestants:
        for sample in samples[one.name]:
            answered = sample.requests - sample.failed
            if one.publishes and sample.queued < answered:
                context.tell(f"{one.name}: {answered} answers, {sample.queued} messages queued")
    return Report(
        name="submits",
        data=samples,
        text=table.submits(contestants, samples),
        goals=submit_goals(samples),
        charts=draw(contestants, samples, context.plan),
    )


def draw(contestants: Sequence[Contestant], samples: Samples, plan: Plan) -> dict[str, str]:
    """The charts of docs/performance.md."""
    note = (
        f"{plan.load.connections} connections, median of {plan.rounds} rounds, "
        "line: lowest to highest round"
    )
    rates = _bars(contestants, samples, lambda sample: sample.rate)
    costs = _bars(contestants, samples, lambda sample: sample.cpu_us)
    return {
        "submit-rate": chart.bars("Submits per second", note, rates),
        "submit-cpu": chart.bars("Processor time per submit, µs", note, costs[::-1]),
    }


def _bars(
    contestants: Sequence[Contestant], samples: Samples, of: Callable[[Sample], float]
) -> list[chart.Bar]:
    entries = [
        chart.Bar(one.title, Figure.of(of(sample) for sample in samples[one.name]), one is GATEWAY)
        for one in contestants
    ]
    return sorted(entries, key=lambda bar: -bar.figure.median)
