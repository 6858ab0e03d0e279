"""Which versions of Celery there are, their queues, and how their workers are started."""

import sys
from collections.abc import Iterable
from pathlib import Path

from bench.peers import install, python_of

VERSIONS = ("5.4", "5.7")
OWN = "5.7"
"""Of this project's environment; another has one that is made from its lock."""
SLOTS = 3
"""Tasks that the worker of a version executes at once."""


RUNS_FILE = "stock-runs"
"""In the folder of a drill: what the applications executed."""


def queue_of(version: str) -> str:
    """Return the queue of a version, which its tasks begin with."""
    return f"stock-{version}"


def worker_of(version: str) -> str:
    """Return the part that is the worker of a version."""
    return f"worker-stock-{version}"


def tables(versions: Iterable[str]) -> str:
    """Return what the layout has besides: queues that the versions own, and routes."""
    return "".join(
        f"""
[queues."{queue_of(version)}"]
owner = "app"

[[routes]]
task = "{queue_of(version)}.*"
exchange = ""
routing_key = "{queue_of(version)}"
"""
        for version in versions
    )


def python(version: str) -> str | Path:
    """Return the interpreter of a version, whose environment is made if it is missing.

    Raises:
        StartError: pip could not.
    """
    if version == OWN:
        return sys.executable
    install(f"celery-{version}")
    return python_of(f"celery-{version}")
