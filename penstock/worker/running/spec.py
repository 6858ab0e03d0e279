"""A task as a value: for applications that list their tasks instead of decorating them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from celery import Celery, Task


@dataclass(frozen=True)
class TaskSpec:
    """One task: a function or a coroutine function under the name that clients use."""

    name: str

    run: Callable[..., Any]
    """`def f(x: int) -> int` or `async def f(context: TaskContext, x: int) -> int`. A first
    parameter with the hint `TaskContext` is given by the worker and is not an argument of the task.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    """Celery's task options: `time_limit`, `soft_time_limit` (seconds), `max_retries`, …"""


def register(app: Celery, spec: TaskSpec) -> Task:
    """Register a task with one application, as `@app.task` does for a decorated function."""
    return app.task(spec.run, name=spec.name, shared=False, lazy=False, **spec.options)
