"""Which functions make coroutines, and results of coroutine tasks with `pydantic=True`.

Celery's wrapper dumps the model that a function returns. A coroutine function returns a coroutine
to it, whose result nothing would dump.
"""

import inspect
from collections.abc import Callable, Coroutine
from functools import wraps
from types import CellType, CodeType, FunctionType
from typing import Any

from celery.app import base

_MAKER: Any = getattr(base, "pydantic_wrapper", None)  # from Celery 5.5
_WRAPPERS = {
    code
    for code in (_MAKER.__code__.co_consts if _MAKER is not None else ())
    if isinstance(code, CodeType) and code.co_name == "wrapper"
}


def makes_coroutine(run: Callable[..., Any]) -> bool:
    """Return whether a function is a coroutine function, also behind Celery's wrapper.

    What is outermost decides: a decorator of the author's may run the coroutine itself.
    """
    function: Any = getattr(run, "__func__", run)
    while getattr(function, "__code__", None) in _WRAPPERS:
        function = function.__wrapped__
    return inspect.iscoroutinefunction(function)


def has_coroutine(run: Callable[..., Any]) -> bool:
    """Return whether a function, or what it is wrapped around, is a coroutine function."""
    return inspect.iscoroutinefunction(inspect.unwrap(run, stop=inspect.iscoroutinefunction))


def dumping(run: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function whose coroutine has its result dumped, if Celery's wrapper is around it."""
    if not isinstance(run, FunctionType) or run.__code__ not in _WRAPPERS:
        return run

    @wraps(run)
    def dumped(*args: Any, **kwargs: Any) -> Any:
        result = run(*args, **kwargs)
        return _dumped(run, result) if inspect.iscoroutine(result) else result

    return dumped


async def _dumped(wrapper: FunctionType, coroutine: Coroutine[Any, Any, Any]) -> Any:
    return _dump(wrapper, await coroutine)


def _dump(wrapper: FunctionType, result: Any) -> Any:
    """Call the wrapper around a function without parameters that returns the result."""
    names = wrapper.__code__.co_freevars
    cells = dict(zip(names, wrapper.__closure__ or (), strict=True))
    signature = cells["task_signature"].cell_contents.replace(parameters=())
    cells |= {"task_signature": CellType(signature), "task_fun": CellType(lambda: result)}
    closure = tuple(cells[name] for name in names)
    return FunctionType(wrapper.__code__, wrapper.__globals__, closure=closure)()
