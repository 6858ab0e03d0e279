"""`python -m bench.measured`: docs/performance.md written from the newest result files."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import orjson

from bench import worker_tables
from bench.__main__ import PARTS
from bench.contestants import FULL
from bench.figures import Figure
from bench.goals import Goal
from bench.results import RESULTS
from bench.streams import WAYS
from bench.worker_tables import table_of

PERFORMANCE = Path(__file__).resolve().parent.parent / "docs/performance.md"
_SECTION = re.compile(r"(<!-- (measured|drilled):[^\n]*-->\n).*?(<!-- /\2 -->)", re.DOTALL)

Document = Mapping[str, Any]


def documents(folder: Path = RESULTS) -> list[Document]:
    """Every result file, the newest last; a quick run counts as older than any other."""
    found: list[Document] = [orjson.loads(path.read_bytes()) for path in folder.glob("*.json")]
    return sorted(found, key=lambda one: (one["run"] != "quick", one["at"]))


def section(found: Sequence[Document]) -> str:
    """Tables of what was measured last, in Markdown.

    Args:
        found: From `documents`; at least one with submits.
    """
    submits = [one for one in found if "submits" in one][-1]
    machine, settings = submits["machine"], submits["settings"]
    servers = ", ".join(f"{name} {version}" for name, version in submits["servers"].items())
    told = (
        f"{machine['processor']}, {machine['processors']} processors for everything: load "
        f"generator, server, RabbitMQ. Python {machine['python']}, {servers}. "
        f"{submits['at'][:10]}, `{settings['load_command']}`, medians of {settings['rounds']} "
        "interleaved rounds."
    )
    tables = [told, _contestants(submits["submits"]), _goals(found)]
    for part, table in (("watching-peers", _watchers), *worker_tables.TABLES.items()):
        measured = [one[part] for one in found if part in one]
        tables += map(table, measured[-1:])
    return "\n\n".join(tables)


def drilled(found: Sequence[Document]) -> str:
    """The newest long drill on each RabbitMQ, as a table in Markdown.

    Args:
        found: From `documents`.
    """
    newest = {one["drill"]["rabbitmq"]: one["drill"] for one in found if "drill" in one}
    drills = [newest[version] for version in sorted(newest, key=_version)]
    return table_of(
        ("", *(f"RabbitMQ {drill['rabbitmq']}" for drill in drills)),
        ((title, *map(tell, drills)) for title, tell in _DRILLED),
    )


def rewrite(text: str, folder: Path = RESULTS) -> str:
    """Return the text of docs/performance.md with the figures of the result files."""
    found = documents(folder)
    sections = {"measured": section, "drilled": drilled}
    return _SECTION.sub(
        lambda match: f"{match[1]}\n{sections[match[2]](found)}\n\n{match[3]}", text
    )


def _version(text: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", text)))


def _count(name: str) -> Callable[[Document], str]:
    return lambda drill: f"{drill['counts'].get(name, 0):,}"


def _of(part: str, whole: str) -> Callable[[Document], str]:
    return lambda drill: f"{drill['counts'].get(part, 0):,} of {drill['counts'].get(whole, 0):,}"


def _must_be_0(*names: str) -> Callable[[Document], str]:
    return lambda drill: f"{sum(drill['must_be_0'].get(name, 0) for name in names):,}"


def _anything_else(drill: Document) -> str:
    worst = {name for names in _WORST.values() for name in names}
    counts = drill["must_be_0"].items()
    return f"{sum(count for name, count in counts if name not in worst):,}"


def _recovered(drill: Document) -> str:
    took = [(one["seconds"], one["allowed_s"]) for one in drill["recovery"]]
    in_time = [s for s, allowed_s in took if s is not None and s <= allowed_s]  # null: never
    return f"{len(in_time)} of {len(took)}; half within {median(in_time):.1f} s"


def _memory(drill: Document) -> str:
    return "; ".join(
        f"{sizes['first quarter']:.0f} → {sizes['last quarter']:.0f} MiB"
        for sizes in drill["gateway_rss_mib"].values()
    )


_WORST = {
    "tasks or documents lost": ("task lost", "document lost"),
    "documents stored twice": ("document stored twice",),
    "tasks or batches never ended": ("task never ended", "batch never ended"),
}
_DRILLED: tuple[tuple[str, Callable[[Document], str]], ...] = (
    ("minutes, faults, kinds of faults",
     lambda drill: f"{drill['minutes']:g}, {drill['faults']}, {drill['kinds']}"),
    ("processors busy", lambda drill: f"{drill['processors_busy']:.0%}"),
    ("tasks accepted", _count("tasks accepted")),
    ("documents accepted, all stored", _of("documents accepted, stored", "documents accepted")),
    *((title, _must_be_0(*names)) for title, names in _WORST.items()),
    ("anything else that must not be", _anything_else),
    ("executions that were repeated", _of("executions repeated", "executions")),
    ("everything works again within 15 s of healing (30 s after a crash of RabbitMQ)", _recovered),
    ("memory of each gateway, first and last quarter", _memory),
)  # fmt: skip


def _contestants(samples: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    def middle(name: str, field: str) -> float:
        return Figure.of(sample[field] for sample in samples[name]).median

    measured = [one for one in FULL if one.name in samples]
    measured.sort(key=lambda one: -middle(one.name, "rate"))
    return table_of(
        ("", "submits/s", "CPU µs each", "p50 ms", "p99 ms", "does not give"),
        (
            (
                f"**{one.title}**" if one.name == "gateway" else one.title,
                f"{middle(one.name, 'rate'):,.0f}",
                f"{middle(one.name, 'cpu_us'):,.0f}",
                f"{middle(one.name, 'p50_ms'):,.0f}",
                f"{middle(one.name, 'p99_ms'):,.0f}",
                ", ".join(one.lacks) or "–",
            )
            for one in measured
        ),
    )


def _watchers(rounds: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    def told(kind: str, field: str, digits: int = 0) -> str:
        return f"{Figure.of(one['told'][field] for one in rounds[kind]).median:,.{digits}f}"

    return table_of(
        ("watchers", "end told after p50 ms", "p99 ms", "Redis commands/s", "ends never told"),
        (
            (
                f"**{one.title}**" if kind == "penstock" else one.title,
                told(kind, "final_p50_ms", 1),
                told(kind, "final_p99_ms", 1),
                f"{Figure.of(one['commands_a_second'] for one in rounds[kind]).median:,.0f}",
                told(kind, "missing"),
            )
            for kind, one in WAYS.items()
        ),
    )


def _goals(found: Sequence[Document]) -> str:
    in_order = sorted(found, key=_first_part)
    newest = {goal.what: goal for one in in_order for goal in map(_goal, one["goals"])}
    return table_of(
        ("what", "wanted", "measured (lowest–highest round)"),
        (
            (
                goal.what,
                goal.bound,
                f"**missed:** {goal.told}" if goal.reached is False else goal.told,
            )
            for goal in newest.values()
        ),
    )


def _first_part(document: Document) -> int:
    """The place of a document among those of `full`; those of one place stay in order."""
    return next((place for place, part in enumerate(PARTS) if part in document), len(PARTS))


def _goal(plain: Mapping[str, Any]) -> Goal:
    measured = plain["measured"]
    return Goal(**{**plain, "measured": Figure(**measured) if measured else None})


if __name__ == "__main__":
    PERFORMANCE.write_text(rewrite(PERFORMANCE.read_text(encoding="utf-8")), encoding="utf-8")
