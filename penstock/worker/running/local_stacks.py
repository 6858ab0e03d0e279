"""Celery's stacks of running tasks, which it keeps by thread: here each context has its own.

`celery.current_task` and `self.request` read them. A coroutine and what it hands to `create_task`
or `asyncio.to_thread` run in copies of a context: they see what was there when they began, and
what Celery pushes and pops in one of them is not seen in another.
"""

from collections.abc import Callable
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

    __slots__ = ("_none", "_values", "set")

    def __init__(self, name: str) -> None:
        self._values: ContextVar[_Values] = ContextVar(name)
        self.set = self._values.set
        self._none = self.made(())

    @property
    def stack(self) -> _Values:
        """The values; Celery pushes to them and pops from them."""
        return self._values.get(self._none)

    def made(self, values: Any) -> _Values:
        """Make values of this stack, which never change."""
        made = _Values(values)
        made.kept = self
        return made

    def put(self, values: Any) -> None:
        """Have these in the place of those that were there."""
        made = _Values(values)
        made.kept = self
        self.set(made)

    def __release_local__(self) -> None:  # Celery's
        self.set(self._none)


def keep_apart(stack: Any, name: str) -> None:
    """Let each context have a stack of its own.

    Args:
        stack: of `celery.utils.threads`; with USE_FAST_LOCALS in the environment it keeps its list
            itself, and coroutines see none.
        name: what it is called.
    """
    if hasattr(stack, "_local") and not isinstance(stack._local, _Kept):  # noqa: SLF001  # Celery has no other way
        stack._local = _Kept(name)  # noqa: SLF001  # as above


def entrance(task: Any) -> Callable[[Any], None]:
    """Return what begins an execution, given its request, in the context of its coroutine.

    It is called for each execution: what does not change is made here.
    """
    kept = [getattr(stack, "_local", None) for stack in (_task_stack, task.request_stack)]
    tasks, requests = (one if isinstance(one, _Kept) else _Kept("none") for one in kept)
    values = tasks.made((task,))
    begin, put = tasks.set, requests.put

    def enter(request: Any) -> None:
        begin(values)
        put((request,))

    return enter


def leave(task: Any) -> None:
    """End an execution, for what is called in the context of its coroutine afterwards."""
    for stack in (_task_stack, task.request_stack):
        if hasattr(stack, "_local"):
            stack._local.__release_local__()  # noqa: SLF001  # as above


def prepare(tasks: Any) -> None:
    """Let the stacks of Celery, and of these tasks, be used by coroutines."""
    keep_apart(_task_stack, "current_task")
    for task in tasks:
        keep_apart(task.request_stack, str(task.name))
