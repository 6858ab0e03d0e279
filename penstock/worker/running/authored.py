"""The function that the author of a task wrote, and how it wants to be called. Pure."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_origin

from penstock.worker.running.context import TaskContext
from penstock.worker.running.dumping import dumping


@dataclass(frozen=True, slots=True, kw_only=True)
class Authored:
    """A function, a coroutine function or the `run` of a class, as Celery's decorators took it."""

    run: Callable[..., Any]

    takes_self: bool
    """Whether the task comes first: `bind=True`, or a method."""

    takes_context: bool
    """Whether a `TaskContext` comes next."""

    is_coroutine: bool
    """Whether it runs on the event loop of the worker process."""

    @classmethod
    def of(cls, run: Callable[..., Any], *, takes_self: bool) -> "Authored":
        """Look at a function."""
        written = inspect.unwrap(run)
        is_coroutine = inspect.iscoroutinefunction(written)
        return cls(
            run=dumping(run) if is_coroutine else run,
            takes_self=takes_self,
            takes_context=is_context(next(iter(_hints(written, takes_self=takes_self)), None)),
            is_coroutine=is_coroutine,
        )

    @property
    def given(self) -> int:
        """How many of its first parameters are no arguments of the task."""
        return self.takes_self + self.takes_context

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
