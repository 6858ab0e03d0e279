"""Celery's stacks of running tasks, which it keeps by thread: here each context has its own.

`celery.current_task` and `self.request` read them. A coroutine and what it hands to `create_task`
or `asyncio.to_thread` run in copies of a context: they see what was there when they began, and
what Celery pushes and pops in one of them is not seen in another.
"""

from contextvars import ContextVar
from typing import Any

from celery._state import _task_stack


class _Values(list[Any]):
    """What is on a stack, in one context; Celery's pushing and popping put another in its place."""

    __slots__ = ("kept",)
    kept: "_Kept"

    def append(self, value: Any) -> None:
        """Push."""
        self.kept.put((*self, value))

    def pop(self, *_: Any) -> Any:
        """Pop; None: there is nothing."""
        self.kept.put(self[:-1])
        return self[-1] if self else None


class _Kept:
    """Keeps the values of one stack in the context, in the place of `celery.utils.threads.Local`.

    Args:
        name: of the stack.
    """

    __slots__ = ("_none", "_values")

    def __init__(self, name: str) -> None:
        self._values: ContextVar[_Values] = ContextVar(name)
        self._none = _Values()
        self._none.kept = self

    @property
    def stack(self) -> _Values:
        """The values; Celery pushes to them and pops from them."""
        return self._values.get(self._none)

    def put(self, values: Any) -> None:
        """Have these in the place of those that were there."""
        made = _Values(values)
        made.kept = self
        self._values.set(made)

    def __release_local__(self) -> None:  # Celery's
        self._values.set(self._none)


def keep_apart(stack: Any, name: str) -> None:
    """Let each context have a stack of its own.

    Args:
        stack: of `celery.utils.threads`; with USE_FAST_LOCALS in the environment it keeps its list
            itself, and coroutines see none.
        name: what it is called.
    """
    if hasattr(stack, "_local") and not isinstance(stack._local, _Kept):  # noqa: SLF001  # Celery has no other way
        stack._local = _Kept(name)  # noqa: SLF001  # as above


def enter(task: Any, request: Any) -> None:
    """Begin an execution, in the context of its coroutine, which ends with it."""
    for stack, value in ((_task_stack, task), (task.request_stack, request)):
        if hasattr(stack, "_local"):
            stack._local.put((value,))  # noqa: SLF001  # as above


def prepare(tasks: Any) -> None:
    """Let the stacks of Celery, and of these tasks, be used by coroutines."""
    keep_apart(_task_stack, "current_task")
    for task in tasks:
        keep_apart(task.request_stack, str(task.name))
