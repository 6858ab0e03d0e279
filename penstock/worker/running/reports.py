"""What the code of a task reports wherever it stands: `penstock.progress`, `penstock.log`."""

from collections.abc import Awaitable
from typing import Any

from penstock.worker.running.context import DONE, TaskContext
from penstock.worker.running.task import PenstockTask, executing


def progress(
    current: float, total: float | None = None, message: str | None = None
) -> Awaitable[None]:
    """Report how far the running task is: a function calls it, a coroutine awaits it.

    Best effort, as `TaskContext.progress` is. Outside of a task nothing happens.

    Args:
        current: how much is done, in whatever unit.
        total: of how much.
        message: for those who watch.
    """
    context = _context()
    return DONE if context is None else context.progress(current, total, message)


def log(line: str, stream: str = "stdout") -> Awaitable[None]:
    """Show a line of output of the running task: a function calls it, a coroutine awaits it.

    Best effort, as `TaskContext.log` is. Outside of a task nothing happens.

    Args:
        line: of text.
        stream: its name.
    """
    context = _context()
    return DONE if context is None else context.log(line, stream)


def _context() -> TaskContext[Any] | None:
    task, request = executing()
    if request is None or request.called_directly or not isinstance(task, PenstockTask):
        return None
    return task.context_of(request)
