"""Tables of worker pools for docs/performance.md, in Markdown. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench import there_and_back
from bench.figures import Figure
from bench.workers import POOLS

Samples = Mapping[str, Sequence[Mapping[str, float]]]
"""Rounds of a result file, by contestant."""


@dataclass(frozen=True, slots=True)
class Column:
    """One quantity."""

    title: str
    field: str
    digits: int = 0


_RATE, _COST = Column("tasks/s", "rate"), Column("CPU µs/task", "cpu_us")
_TITLES = {name: one.title for name, one in POOLS.items()} | {
    name: one.title for name, one in there_and_back.WAYS.items()
}
_OURS = {name for name, one in POOLS.items() if one.pool == "asyncio"} | {"penstock"}


def table_of(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    grid = [header, ["---"] * len(header), *lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in grid)


def _table(what: str, columns: Sequence[Column]) -> Callable[[Samples], str]:
    """Make a function of a part's rounds: a line for each contestant, medians."""

    def table(samples: Samples) -> str:
        rounds = max(len(taken) for taken in samples.values())
        return table_of(
            (f"{what}; medians of {rounds} rounds", *(column.title for column in columns)),
            (
                (
                    f"**{title}**" if name in _OURS else title,
                    *(_median(samples[name], column) for column in columns),
                )
                for name, title in _TITLES.items()
                if name in samples
            ),
        )

    return table


def _median(taken: Sequence[Mapping[str, float]], column: Column) -> str:
    figure = Figure.of(one[column.field] for one in taken)
    return f"{figure.median:,.{column.digits}f}"


TABLES = {
    "workers": _table("a worker, a trivial task", (_RATE, _COST)),
    "worker-documents": _table("a worker, one `insert_one` a task", (_RATE, _COST)),
    "there-and-back": _table(
        "HTTP, executed, the end at the client", (_RATE, Column("p50 ms", "p50_ms"))
    ),
    "task-latency": _table(
        "submit to result, one at a time",
        (Column("p50 ms", "p50_ms", 1), Column("p99 ms", "p99_ms", 1)),
    ),
}
"""By the part that measured."""
