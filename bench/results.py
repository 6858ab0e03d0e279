"""Result files: everything a table was made from, and on which machine."""

import importlib.metadata
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

RESULTS = Path(__file__).with_name("results")
_PACKAGES = (
    "aio-pika", "aiohttp", "aiormq", "celery", "kombu", "msgspec", "orjson",
    "pymongo", "redis", "uvloop",
)  # fmt: skip


def machine() -> dict[str, Any]:
    """What the figures depend on and say nothing about, the load at the end of the run included."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "processor": model,
        "processors": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_average": os.getloadavg(),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
    }


def save(
    name: str,
    sections: Mapping[str, Any],
    settings: Mapping[str, Any],
    folder: Path = RESULTS,
) -> Path:
    """Write `<date>-<name>.json`; a second run of a day replaces the first.

    Args:
        name: Which run it was: `quick`, `full`, `streams`.
        sections: Results by part; dataclasses, mappings and numbers.
        settings: Rounds, connections, the load generator's command line.
        folder: Where to.
    """
    now = datetime.now(UTC)
    document = {
        "run": name,
        "at": now.isoformat(timespec="seconds"),
        "machine": machine(),
        "settings": settings,
        **sections,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{now:%Y-%m-%d}-{name}.json"
    path.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")
    return path


def latest(name: str, folder: Path = RESULTS) -> Mapping[str, Any] | None:
    """The newest result file of a kind of run, or None."""
    found: Sequence[Path] = sorted(folder.glob(f"*-{name}.json"))
    if not found:
        return None
    document: Mapping[str, Any] = orjson.loads(found[-1].read_bytes())
    return document


def draw(name: str, svg: str, folder: Path = RESULTS) -> Path:
    """Write a chart for docs/performance.md; it replaces the one of the run before."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.svg"
    path.write_text(svg, encoding="utf-8")
    return path
