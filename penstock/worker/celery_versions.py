"""What Celery 5.5 and 5.6 lack of what this library uses."""

from typing import Any

from celery import VERSION

EXPLAINED = ("preload",) if VERSION[:2] >= (5, 7) else ("worker", "beat")
"""Kinds of `app.user_options` that take an option whose value nothing is handed; `preload` is every
command, and is for such since 5.7."""

try:
    from celery.backends.base import decompress_payload
except ImportError:  # before 5.7, which may compress results

    def decompress_payload(payload: Any) -> Any:
        """Return it as it is."""
        return payload


def ignores_result(task: Any, request: Any) -> bool:
    """Return whether no state of an execution is kept: what its message says, else its task.

    Celery 5.7 has `get_actual_ignore_result`.

    Args:
        task: what is executed.
        request: Celery's context, whose class says False where the message says nothing.
    """
    said = vars(request).get("ignore_result")
    return bool(task.ignore_result if said is None else said)


__all__ = ["EXPLAINED", "decompress_payload", "ignores_result"]
