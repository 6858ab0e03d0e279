"""The events of a task as a client that resumes from its beginning gets them from Redis."""

import json
from typing import Any

from gateway.states.state import MAX_STREAMED_BYTES
from penstock.wire.keys import TaskKeys
from penstock.wire.scripts import script

_ALL = 1 << 20

SNAPSHOT = script("task_snapshot").text


def question(task_id: str, cursor: str = "0-0") -> dict[str, Any]:
    """Return keys and arguments of the script."""
    keys = TaskKeys.of(task_id)
    return {
        "keys": [keys.record, keys.events, keys.ended, keys.revoked],
        "args": [MAX_STREAMED_BYTES, _ALL, cursor],
    }


def events(answer: Any) -> list[tuple[str, dict[str, Any]]]:
    """Return cursor and event of each entry, from the answer of the script."""
    return [(_text(cursor), json.loads(fields[1])) for cursor, fields in answer[0][2]]


def complete(answer: Any) -> bool:
    """Return whether the answer says that no event is missing."""
    return bool(answer[0][1])


def _text(value: Any) -> str:
    return value if isinstance(value, str) else str(value, "ascii")
