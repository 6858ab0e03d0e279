"""The comparison of submits: HTTP in, a persistent message in a quorum queue out."""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict

from bench import chart, results, table
from bench.contestants import FULL, GATEWAY, QUICK, Contestant
from bench.figures import Figure
from bench.goals import submit_goals
from bench.peers import install
from bench.rounds import Plan, Sample, Samples, measure
from bench.servers import running, versions


async def run(options: argparse.Namespace, plan: Plan) -> None:
    """Measure, print, save.

    Raises:
        StartError: A server or a contestant did not start.
    """
    contestants: Sequence[Contestant] = QUICK if options.what == "quick" else FULL
    if options.only:
        contestants = tuple(one for one in FULL if one.name in options.only.split(","))
    for group in sorted({one.venv for one in contestants}):
        install(group)
    print(f"load: {plan.load.told()}, {plan.rounds} rounds", file=sys.stderr)
    async with running() as servers:
        samples = await measure(
            contestants, servers, plan, lambda line: print(line, file=sys.stderr)
        )
        servers_versions = versions(servers)
    goals = submit_goals(samples)
    print(table.submits(contestants, samples))
    print()
    print(table.scoreboard(goals))
    if not options.no_save:
        path = results.save(
            options.what,
            {"servers": servers_versions, "submits": samples, "goals": goals},
            {**asdict(plan), "load_command": plan.load.told()},
        )
        print(f"\nwritten: {path}", file=sys.stderr)
        draw(contestants, samples, plan)


def draw(contestants: Sequence[Contestant], samples: Samples, plan: Plan) -> None:
    """Write the charts of the README."""
    note = (
        f"{plan.load.connections} connections, median of {plan.rounds} rounds, "
        "line: lowest to highest round"
    )
    for name, title, digits, of in _CHARTS:
        entries = _bars(contestants, samples, of)
        if name == "submit-cpu":
            entries = sorted(entries, key=lambda bar: bar.figure.median)
        results.draw(name, chart.bars(title, note, entries, digits))


def _bars(
    contestants: Sequence[Contestant], samples: Samples, of: Callable[[Sample], float]
) -> list[chart.Bar]:
    entries = [
        chart.Bar(one.title, Figure.of(of(sample) for sample in samples[one.name]), one is GATEWAY)
        for one in contestants
    ]
    return sorted(entries, key=lambda bar: -bar.figure.median)


_CHARTS: tuple[tuple[str, str, int, Callable[[Sample], float]], ...] = (
    ("submit-rate", "Submits per second", 0, lambda sample: sample.rate),
    ("submit-cpu", "Processor time per submit, µs", 0, lambda sample: sample.cpu_us),
)
