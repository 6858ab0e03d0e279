"""A worker with the shipped tasks and some that say what a canvas made of them.

Started as `celery -A tests.apps.canvas_app worker`.
"""

import os
from typing import Any

from penstock.worker.running.spec import TaskSpec
from tasks.app import build_app
from tasks.config import WorkerConfig
from tasks.registry import TASKS
from topology.layout import load_from_env


def shape(*args: Any) -> dict[str, Any]:
    """Return its number and what it was given: the results of a canvas are its shape then."""
    return {"k": args[-1], "of": args[:-1]}


def mourn(request: Any, exc: Any, traceback: Any, *about: str) -> list[Any]:
    """Take a failure as an errback of three parameters does."""
    return [request.id, type(exc).__name__, str(exc), bool(traceback) or exc is not None, *about]


def mourn_badly(request: Any, exc: Any, traceback: Any) -> None:
    """Fail at it."""
    raise KeyError("grief")


async def mourn_late(request: Any, exc: Any, traceback: Any) -> list[Any]:
    """Do so as a coroutine."""
    return mourn(request, exc, traceback)


SPECS = (
    *TASKS,
    TaskSpec("demo.shape", shape),
    TaskSpec("demo.mourn", mourn),
    TaskSpec("demo.mourn_badly", mourn_badly),
    TaskSpec("demo.mourn_late", mourn_late),
)
_config = WorkerConfig.from_env(os.environ)
app = build_app(_config, load_from_env(os.environ), SPECS)
