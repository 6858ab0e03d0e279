"""Every task of this deployment on one page."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from penstock.worker.running.runtime import TaskContext
from tasks import demo, documents, periodic, scripts


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

    @cached_property
    def is_coroutine(self) -> bool:
        """Whether it runs on the event loop of the worker process."""
        return inspect.iscoroutinefunction(self.run)

    @cached_property
    def takes_context(self) -> bool:
        """Whether the worker gives it a `TaskContext`."""
        parameters = inspect.signature(self.run, eval_str=True).parameters.values()
        return any(one.annotation is TaskContext for one in list(parameters)[:1])


TASKS: tuple[TaskSpec, ...] = (
    TaskSpec("demo.add", demo.add),
    TaskSpec("demo.total", demo.total),
    TaskSpec("demo.echo", demo.echo),
    TaskSpec("demo.sleep", demo.sleep),
    TaskSpec("demo.fail", demo.fail),
    TaskSpec("demo.flaky", demo.flaky, {"max_retries": None}),
    TaskSpec("demo.progress", demo.progress),
    TaskSpec("documents.store", documents.store, {"max_retries": None}),
    TaskSpec("periodic.heartbeat", periodic.heartbeat, {"ignore_result": True}),
    TaskSpec("scripts.run", scripts.run),
)
