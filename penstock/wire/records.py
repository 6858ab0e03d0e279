"""The record of a task in Redis: its states, its error.

    (nothing) ──start──► STARTED ──► PROGRESS … ──► SUCCESS | FAILURE | REVOKED   (ended, once)
                            ▲ └────► RETRY ──┐
                            └── redelivery ──┘

Each change is one script: the record, an entry of the task's event stream and a notice to those who
watch are stored together or not at all. The first end that is stored stays; what arrives after it
is dropped, unless the task is started again on purpose.

Celery's clients build an exception from `exc_module`, `exc_type` and `exc_message`
(`celery.backends.base.Backend.exception_to_python`): a class and its arguments. The name and the
text of an exception cannot be found again from these, so `type` and `text` say them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

FINAL = frozenset({"SUCCESS", "FAILURE", "REVOKED"})
"""Celery's READY_STATES."""
PROGRESS = "PROGRESS"
"""The state of a task that has reported how far it is, and of one that reported without a state."""
LONG_RECORD_BYTES = 64 * 1024
"""The event of a longer record carries no result: streams are for news, records for results."""


def error_record(
    kind: str, text: str, module: str, args: Sequence[Any] | None = None, path: str = ""
) -> dict[str, Any]:
    """Return the member `result` of the record of a FAILURE, a RETRY or a REVOKED.

    Args:
        kind: the name of the class, `type(exc).__name__`.
        text: `str(exc)`.
        module: where the class is defined.
        args: what it is made of, values that the record can hold; default: the text.
        path: its name within the module, `type(exc).__qualname__`; default: the kind.
    """
    return {
        "exc_type": path or kind,
        "exc_message": [text] if args is None else list(args),
        "exc_module": module,
        "type": kind,
        "text": text,
    }


def shown(record: Mapping[str, Any]) -> dict[str, str]:
    """Return `type` and `message` of an error for people.

    Args:
        record: what `error_record` returned, or what a stock worker stored.
    """
    kind, text = record.get("type"), record.get("text")
    if isinstance(kind, str) and isinstance(text, str):
        return {"type": kind, "message": text}
    message = record.get("exc_message", "")
    if isinstance(message, list):
        message = ", ".join(map(str, message))
    return {"type": str(record.get("exc_type", "Exception")), "message": str(message)}
