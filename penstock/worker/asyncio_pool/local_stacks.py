"""Celery's stacks of running tasks, by thread: coroutines of one thread have one each here.

`celery.current_task` and `self.request` read them. A function that a coroutine hands to
`asyncio.to_thread` sees those of its coroutine.
"""

import itertools
from contextvars import ContextVar
from threading import get_ident
from typing import Any

from celery._state import _task_stack

_counter = itertools.count(1)
_coroutine: ContextVar[int] = ContextVar("coroutine", default=0)


def _identity() -> int:
    return _coroutine.get() or get_ident()


def keep_apart(stack: Any) -> None:
    """Let each coroutine have a stack of its own.

    Args:
        stack: of `celery.utils.threads`; with USE_FAST_LOCALS in the environment it has no hook for
            that, and coroutines see none.
    """
    if hasattr(type(stack), "__ident_func__"):
        stack.__ident_func__ = _identity


def enter(task: Any, request: Any) -> None:
    """Begin an execution, in the context of its coroutine."""
    _coroutine.set(-next(_counter))  # no thread is called so
    _task_stack.push(task)
    task.request_stack.push(request)


def leave(task: Any) -> None:
    """End an execution, in the context of its coroutine."""
    task.request_stack.pop()
    _task_stack.pop()


def prepare(tasks: Any) -> None:
    """Let the stacks of Celery, and of these tasks, be used by coroutines."""
    keep_apart(_task_stack)
    for task in tasks:
        keep_apart(task.request_stack)
