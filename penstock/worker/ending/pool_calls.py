"""What a pool calls for a delivery. What any of it raises, a future would keep to itself."""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from billiard.einfo import ExceptionInfo

_logger = logging.getLogger(__name__)


def guarded_call(
    target: Callable[..., Any], options: Mapping[str, Any]
) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Return what logs whatever is raised, and answers the broker where nothing was executed.

    Args:
        target: executes the task.
        options: of Celery's `BasePool.apply_async`, with the callbacks of the request.

    Returns:
        The target and the options for the pool.
    """
    callback, accept = options.get("callback"), options.get("accept_callback")
    callbacks = {
        "callback": partial(_answer, callback, options.get("error_callback")),
        "accept_callback": partial(_accept, accept),
    }
    return partial(_execute, target), {**options, **callbacks}


def _execute(target: Callable[..., Any], *args: Any, **options: Any) -> Any:
    try:
        return target(*args, **options)
    except Exception:
        _logger.exception("not executed: task=%s task_id=%s", *(*args, None, None)[:2])
        return ExceptionInfo()


def _answer(
    callback: Callable[..., Any] | None,
    error_callback: Callable[..., Any] | None,
    answer: Any,
    **options: Any,
) -> None:
    call = error_callback if isinstance(answer, ExceptionInfo) else callback
    try:
        if call is not None:
            call(answer, **options)
    except Exception:
        _logger.exception("end not handled: %r", getattr(call, "__self__", call))


def _accept(accept_callback: Callable[..., Any] | None, *accepted: Any) -> None:
    try:
        if accept_callback is not None:
            accept_callback(*accepted)
    except Exception:  # it runs all the same
        _logger.exception(
            "start not noted: %r", getattr(accept_callback, "__self__", accept_callback)
        )
