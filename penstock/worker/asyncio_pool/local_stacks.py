"""Celery's stacks of running tasks, by thread: coroutines of one thread have one each here.

`celery.current_task` and `self.request` read them. A function that a coroutine hands to
`asyncio.to_thread` sees those of its coroutine, whose context it gets.
"""

from contextvars import ContextVar
from typing import Any

from celery._state import _task_stack


class _Kept:
    """Keeps the list of one stack in the context, in the place of `celery.utils.threads.Local`.

    Args:
        name: of the stack.
    """

    __slots__ = ("_list",)

    def __init__(self, name: str) -> None:
        self._list: ContextVar[list[Any] | None] = ContextVar(name, default=None)

    @property
    def stack(self) -> list[Any]:
        """The list; AttributeError: there is none."""
        found = self._list.get()
        if found is None:
            raise AttributeError("stack")
        return found

    @stack.setter
    def stack(self, values: list[Any]) -> None:
        self._list.set(values)

    def __release_local__(self) -> None:  # Celery's
        self._list.set(None)


def keep_apart(stack: Any, name: str) -> None:
    """Let each coroutine have a stack of its own.

    Args:
        stack: of `celery.utils.threads`; with USE_FAST_LOCALS in the environment it keeps its list
            itself, and coroutines see none.
        name: what it is called.
    """
    if hasattr(stack, "_local") and not isinstance(stack._local, _Kept):  # noqa: SLF001  # Celery has no other way
        stack._local = _Kept(name)  # noqa: SLF001  # as above


def enter(task: Any, request: Any) -> None:
    """Begin an execution, in the context of its coroutine."""
    for stack, value in ((_task_stack, task), (task.request_stack, request)):
        if hasattr(stack, "_local"):
            stack._local.stack = [value]  # noqa: SLF001  # as above


def leave(task: Any) -> None:
    """End an execution, in the context of its coroutine."""
    for stack in (task.request_stack, _task_stack):
        if hasattr(stack, "_local"):
            stack._local.__release_local__()  # noqa: SLF001  # as above


def prepare(tasks: Any) -> None:
    """Let the stacks of Celery, and of these tasks, be used by coroutines."""
    keep_apart(_task_stack, "current_task")
    for task in tasks:
        keep_apart(task.request_stack, task.name)
