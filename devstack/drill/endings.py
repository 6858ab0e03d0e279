"""Ways in which a task can leave its body: each is one end, and its slot comes back."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from penstock.worker.running.context import TaskContext

SURROGATE = "a\udc80b"
"""A file name that is not UTF-8, as `os.fsdecode` returns it."""


class LeavingError(BaseException):
    """Is no `Exception`."""


class HostileError(Exception):
    """Has no text."""

    def __str__(self) -> str:
        """Raise."""
        raise ZeroDivisionError("hostile")


@dataclass(frozen=True, slots=True)
class End:
    """What the record of a task must show."""

    state: str = "SUCCESS"
    error: str = ""
    """The name of the exception's class."""
    text: str = ""
    """Its text, where not text escaped."""


RAISED: Mapping[str, Callable[[], BaseException]] = {
    "system exit": lambda: SystemExit(3),
    "keyboard interrupt": lambda: KeyboardInterrupt("typed"),
    "generator exit": lambda: GeneratorExit("closed"),
    "cancelled": lambda: asyncio.CancelledError("cancelled"),
    "memory": lambda: MemoryError("full"),
    "base exception": lambda: LeavingError("left"),
    "surrogate": lambda: ValueError(SURROGATE),
    "hostile": HostileError,
}
"""Each exception by the way that it stands for."""
ENDS: Mapping[str, End] = {
    "system exit": End("FAILURE", "SystemExit", "3"),
    "keyboard interrupt": End("FAILURE", "KeyboardInterrupt", "typed"),
    "generator exit": End("FAILURE", "GeneratorExit", "closed"),
    "cancelled": End("FAILURE", "CancelledError", "cancelled"),
    "memory": End("FAILURE", "MemoryError", "full"),
    "base exception": End("FAILURE", "LeavingError", "left"),
    "surrogate": End("FAILURE", "ValueError", r"a\udc80b"),
    "hostile": End("FAILURE", "HostileError", "<exception str() failed>"),
    "odd result": End("FAILURE", "EncodeError"),
    "progress NaN": End(),
    "progress surrogate": End(),
}
"""What must be recorded of each way; progress fails no task."""


async def end(context: TaskContext[Any], number: int, way: str) -> object:
    """End in one of the ways, on the event loop."""
    match way:
        case "progress NaN":
            await context.progress(float("nan"), 2)
        case "progress surrogate":
            await context.progress(1, 2, SURROGATE)
    return _end(number, way)


def end_sync(context: TaskContext[Any], number: int, way: str) -> object:
    """End in one of the ways, in the pool's thread or process."""
    match way:
        case "progress NaN":
            context.progress_sync(float("nan"), 2)
        case "progress surrogate":
            context.progress_sync(1, 2, SURROGATE)
    return _end(number, way)


def _end(number: int, way: str) -> object:
    if raised := RAISED.get(way):
        error = raised()
        raise error
    return {number} if way == "odd result" else number
