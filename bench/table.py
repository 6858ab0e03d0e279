"""Results as text for a terminal. Pure."""

from collections.abc import Iterable, Sequence

from bench.contestants import Contestant
from bench.figures import Figure
from bench.goals import Goal
from bench.rounds import Samples

_MARKS = {True: "reached", False: "MISSED", None: "–"}


def rows(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Align columns: the first to the left, numbers to the right, a long last one to the left."""
    grid = [list(header), *(list(line) for line in lines)]
    widths = [max(len(line[column]) for line in grid) for column in range(len(header))]
    told = []
    for line in grid:
        cells = [
            cell.ljust(width) if column in {0, len(header) - 1} else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        told.append("  ".join(cells).rstrip())
    rule = "─" * max(len(line) for line in told)
    return "\n".join([told[0], rule, *told[1:]])


def submits(contestants: Sequence[Contestant], samples: Samples) -> str:
    """One line per contestant: medians, with the lowest and highest round in parentheses."""
    lines = []
    for one in contestants:
        taken = samples[one.name]
        lines.append(
            (
                one.title,
                Figure.of(sample.rate for sample in taken).told(),
                Figure.of(sample.cpu_us for sample in taken).told(),
                Figure.of(sample.broker_us for sample in taken).told(),
                f"{Figure.of(sample.p50_ms for sample in taken).median:.1f}",
                f"{Figure.of(sample.p99_ms for sample in taken).median:.1f}",
                str(sum(sample.failed for sample in taken)),
                ", ".join(one.lacks) or "–",
            )
        )
    header = (
        "contestant", "requests/s", "CPU µs/request", "RabbitMQ µs/request",
        "p50 ms", "p99 ms", "failed", "does not give",
    )  # fmt: skip
    return rows(header, lines)


def scoreboard(goals: Iterable[Goal]) -> str:
    """One line per goal."""
    lines = [
        (goal.what, goal.bound, f"{goal.aim:g}", goal.told, _MARKS[goal.reached]) for goal in goals
    ]
    return rows(("goal", "at least", "aim", "measured (lowest–highest round)", ""), lines)
