"""Results of coroutine tasks with `pydantic=True`.

Celery's wrapper dumps the model that a function returns. A coroutine function returns a coroutine
to it, whose result nothing would dump.
"""

from collections.abc import Callable
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


def dumping(run: Callable[..., Any]) -> Callable[..., Any]:
    """Return a coroutine function whose result is dumped, if Celery's wrapper is around it."""
    if not isinstance(run, FunctionType) or run.__code__ not in _WRAPPERS:
        return run

    @wraps(run)
    async def dumped(*args: Any, **kwargs: Any) -> Any:
        return _dump(run, await run(*args, **kwargs))

    return dumped


def _dump(wrapper: FunctionType, result: Any) -> Any:
    """Call the wrapper around a function without parameters that returns the result."""
    names = wrapper.__code__.co_freevars
    cells = dict(zip(names, wrapper.__closure__ or (), strict=True))
    signature = cells["task_signature"].cell_contents.replace(parameters=())
    cells |= {"task_signature": CellType(signature), "task_fun": CellType(lambda: result)}
    closure = tuple(cells[name] for name in names)
    return FunctionType(wrapper.__code__, wrapper.__globals__, closure=closure)()
