"""Parts of the record of a task: an error that is cut, and what `result_extended` adds."""

from collections.abc import Mapping
from typing import Any

from penstock.wire.records import error_record, shown

KEPT_TRACEBACK_CHARS = 8192
KEPT_TEXT_CHARS = 1000
"""Of an error that is longer than a result may be."""


def extension(request: Any) -> dict[str, Any]:
    """Return what `result_extended` adds to what a record has anyway, as Celery names it."""
    delivery = getattr(request, "delivery_info", None) or {}
    return {
        "args": getattr(request, "args", None),
        "kwargs": getattr(request, "kwargs", None),
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
