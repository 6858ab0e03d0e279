"""Parts of the record of a task: an error that is cut, and what `result_extended` adds."""

from collections.abc import Callable, Mapping
from typing import Any

from celery.utils.saferepr import saferepr

from penstock.wire.records import error_record, shown

KEPT_TRACEBACK_CHARS = 8192
KEPT_TEXT_CHARS = 1000
"""Of an error that is longer than a result may be."""
SHOWN_ARGUMENTS_CHARS = 1024
"""Of arguments that cannot be kept as they are."""


def extension(request: Any, write: Callable[[Any], str], longest: float) -> dict[str, Any]:
    """Return what `result_extended` adds to what a record has anyway, as Celery names it.

    Args:
        request: Celery's context of the execution.
        write: makes JSON of a value, or raises.
        longest: characters of JSON that arguments may have. Of longer ones, and of those that have
            no JSON (they came pickled), the record has their text: it must not fail for them.
    """

    def kept(arguments: Any) -> Any:
        try:
            if len(write({"": arguments})) <= longest:
                return arguments
        except (TypeError, ValueError, RecursionError):
            pass
        return saferepr(arguments, SHOWN_ARGUMENTS_CHARS)

    delivery = getattr(request, "delivery_info", None) or {}
    return {
        "args": kept(getattr(request, "args", None)),
        "kwargs": kept(getattr(request, "kwargs", None)),
        "queue": delivery.get("routing_key"),
    }


def cut(error: Any) -> dict[str, Any]:
    """Return what is kept of an error that is too long to be stored."""
    record = (
        error if isinstance(error, Mapping) else {"exc_type": "Exception", "exc_message": error}
    )
    told = shown(record)
    text = f"{told['message'][:KEPT_TEXT_CHARS]} …"
    return error_record(
        told["type"], text, str(record.get("exc_module")), path=str(record.get("exc_type"))
    )
