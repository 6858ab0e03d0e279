"""What a task is handed to know and report its execution."""

import asyncio
from collections.abc import Awaitable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

R = TypeVar("R")


class StateWriter(Protocol):
    """What a context writes with: the states of one task."""

    async def progress(self, current: float, total: float | None, message: str | None) -> None:
        """Store a PROGRESS state."""

    def progress_sync(self, current: float, total: float | None, message: str | None) -> None:
        """Do so from a thread."""

    async def log(self, line: str, stream: str) -> None:
        """Append a line of output."""

    def log_sync(self, line: str, stream: str) -> None:
        """Do so from a thread."""


class _Done:
    """What is awaited in vain: it was done before."""

    def __await__(self) -> Generator[None, None, None]:
        yield from ()


DONE = _Done()


def in_coroutine() -> bool:
    """Return whether an event loop runs the caller; of a function on a pool's thread none does."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


@dataclass(kw_only=True)
class TaskContext(Generic[R]):
    """One execution, as its task sees it.

    A task whose first parameter has this hint is given it; callers do not see the parameter.
    `TaskContext[R]` names the type of `resources`, for type checkers.

    Progress and lines of output are best effort: while Redis is away they are dropped and the task
    goes on, since a task must not fail or wait for its spectators.
    """

    task_id: str
    task_name: str
    retries: int
    """0 on the first attempt."""

    resources: R
    """What the application makes once for each process (`Penstock(resources=…)`): clients, pools,
    folders. What belongs to an event loop is for coroutines only."""

    writer: StateWriter = field(repr=False)

    headers: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Custom headers of the message."""

    def progress(
        self, current: float, total: float | None = None, message: str | None = None
    ) -> Awaitable[None]:
        """Report how far the task is: a function calls it, a coroutine awaits it."""
        if in_coroutine():
            return self.writer.progress(current, total, message)
        self.writer.progress_sync(current, total, message)
        return DONE

    def progress_sync(
        self, current: float, total: float | None = None, message: str | None = None
    ) -> None:
        """Report how far the task is without an `await`, wherever it is called; blocks."""
        self.writer.progress_sync(current, total, message)

    def log(self, line: str, stream: str = "stdout") -> Awaitable[None]:
        """Show a line of output to those who watch: a function calls it, a coroutine awaits it."""
        if in_coroutine():
            return self.writer.log(line, stream)
        self.writer.log_sync(line, stream)
        return DONE

    def log_sync(self, line: str, stream: str = "stdout") -> None:
        """Show a line of output without an `await`, wherever it is called; blocks."""
        self.writer.log_sync(line, stream)
