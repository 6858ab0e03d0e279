"""The function that the author of a task wrote, and how it wants to be called. Pure."""

import contextlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any, get_origin

from celery.utils.functional import head_from_fun

from penstock.worker.running.context import TaskContext
from penstock.worker.running.dumping import dumping, has_coroutine, makes_coroutine


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFunction:
    """A function, a coroutine function or the `run` of a class, as Celery's decorators took it."""

    run: Callable[..., Any]

    takes_self: bool
    """Whether the task comes first: `bind=True`, or a method."""

    takes_context: bool
    """Whether a `TaskContext` comes next."""

    is_coroutine: bool
    """Whether it runs on the event loop of the worker process."""

    has_coroutine: bool
    """Whether that, or a decorator around a coroutine function that may hand the coroutine on."""

    @classmethod
    def of(cls, run: Callable[..., Any], *, takes_self: bool) -> "TaskFunction":
        """Look at a function."""
        written = inspect.unwrap(run)
        return cls(
            run=dumping(run),
            takes_self=takes_self,
            takes_context=is_context(next(iter(_hints(written, takes_self=takes_self)), None)),
            is_coroutine=makes_coroutine(run),
            has_coroutine=has_coroutine(run),
        )

    @property
    def given(self) -> int:
        """How many of its first parameters are no arguments of the task."""
        return self.takes_self + self.takes_context

    def header(self) -> Callable[..., Any]:
        """Return what Celery checks the arguments of a call with, as its own for `bind=True`."""
        return partial(head_from_fun(self.run), *([None] * self.given))

    def as_method(self) -> Callable[..., Any]:
        """Return what packages look at in its place: they ask `task.run` for its signature.

        That has the arguments of the task behind a first parameter, which a bound method leaves
        out.
        """

        @wraps(self.run)
        def shown(*args: Any, **kwargs: Any) -> Any:
            return self.run(*args, **kwargs)

        with contextlib.suppress(TypeError, ValueError):  # of C
            whole = inspect.signature(self.run)
            arguments = list(whole.parameters.values())[self.given :]
            first = inspect.Parameter("_task", inspect.Parameter.POSITIONAL_ONLY)
            shown.__signature__ = whole.replace(parameters=[first, *arguments])  # type: ignore[attr-defined]
        return shown

    def signature(self) -> inspect.Signature:
        """Return the signature that callers see; a hint that does not exist stays a text."""
        try:
            whole = inspect.signature(self.run, eval_str=True)
        except (AttributeError, NameError, SyntaxError, TypeError):  # names of a type checker alone
            whole = inspect.signature(self.run)
        return whole.replace(parameters=list(whole.parameters.values())[self.given :])


def is_context(hint: Any) -> bool:
    """Return whether a parameter with this hint is given by the worker."""
    return hint is TaskContext or get_origin(hint) is TaskContext


def _hints(written: Callable[..., Any], *, takes_self: bool) -> list[Any]:
    """Return the hints of the parameters; of one that is a text, what it stands for."""
    try:
        parameters = list(inspect.signature(written).parameters.values())[takes_self:]
    except (TypeError, ValueError):  # of C
        return []
    return [_evaluated(one.annotation, written) for one in parameters[:1]]


def _evaluated(hint: Any, written: Callable[..., Any]) -> Any:
    if not isinstance(hint, str):
        return hint
    try:
        return eval(hint, getattr(written, "__globals__", {}))  # noqa: S307  # as `inspect` does
    except Exception:  # noqa: BLE001  # whatever stands there, it is no context
        return hint
