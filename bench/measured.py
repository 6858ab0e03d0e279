"""`python -m bench.measured`: the README's figures, written from the newest result files."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from bench.contestants import FULL
from bench.figures import Figure
from bench.goals import Goal
from bench.results import RESULTS

README = Path(__file__).resolve().parent.parent / "README.md"
_SECTION = re.compile(r"(<!-- measured:[^\n]*-->\n).*?(<!-- /measured -->)", re.DOTALL)

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
    return "\n\n".join((told, _contestants(submits["submits"]), _goals(found)))


def rewrite(text: str, folder: Path = RESULTS) -> str:
    """Return the README's text with the figures of the result files."""
    found = documents(folder)
    return _SECTION.sub(lambda match: f"{match[1]}\n{section(found)}\n\n{match[2]}", text)


def _contestants(samples: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    def median(name: str, field: str) -> float:
        return Figure.of(sample[field] for sample in samples[name]).median

    measured = [one for one in FULL if one.name in samples]
    measured.sort(key=lambda one: -median(one.name, "rate"))
    return _table(
        ("", "submits/s", "CPU µs each", "p50 ms", "p99 ms", "does not give"),
        (
            (
                f"**{one.title}**" if one.name == "gateway" else one.title,
                f"{median(one.name, 'rate'):,.0f}",
                f"{median(one.name, 'cpu_us'):,.0f}",
                f"{median(one.name, 'p50_ms'):,.0f}",
                f"{median(one.name, 'p99_ms'):,.0f}",
                ", ".join(one.lacks) or "–",
            )
            for one in measured
        ),
    )


def _goals(found: Sequence[Document]) -> str:
    newest = {goal.what: goal for one in found for goal in map(_goal, one["goals"])}
    return _table(
        ("what", "wanted", "measured (lowest–highest round)"),
        ((goal.what, goal.bound, goal.told) for goal in newest.values()),
    )


def _goal(plain: Mapping[str, Any]) -> Goal:
    measured = plain["measured"]
    return Goal(**{**plain, "measured": Figure(**measured) if measured else None})


def _table(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    grid = [header, ["---"] * len(header), *lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in grid)


if __name__ == "__main__":
    README.write_text(rewrite(README.read_text(encoding="utf-8")), encoding="utf-8")
