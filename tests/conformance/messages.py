"""Messages of two publishers, made comparable: ids by their order, times by their distance."""

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(-[0-9a-f]{20})?")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")
_ID_HEADERS = ("id", "group", "root_id", "parent_id")
_STEP_S = 3
"""Of times: two publishers do not publish at once."""
ABSENT = "absent"


def fields(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """Return every field of the messages of one kind by its path, comparable."""
    ids: dict[str, str] = {}
    found = {}
    for message in messages:  # what stands in bodies differs more
        for name in _ID_HEADERS:
            _numbered(str(message["headers"].get(name)), ids)
    for number, message in enumerate(messages):
        at = message["at"]
        for path, value in _flat(f"{number}", {k: v for k, v in message.items() if k != "at"}):
            found[path] = _comparable(path, value, at, ids)
    return found


def differences(theirs: dict[str, Any], ours: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return path → (Celery's, ours) where they differ; the path without the message's number."""
    return {
        path.partition(".")[2]: (theirs.get(path, ABSENT), ours.get(path, ABSENT))
        for path in sorted(theirs.keys() | ours.keys())
        if theirs.get(path, ABSENT) != ours.get(path, ABSENT)
    }


def _flat(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key in sorted(value):
            yield from _flat(f"{path}.{key}", value[key])
    elif isinstance(value, list) and any(isinstance(one, dict | list) for one in value):
        for place, one in enumerate(value):
            yield from _flat(f"{path}.{place}", one)
    else:
        yield path, value


def _comparable(path: str, value: Any, at: float, ids: dict[str, str]) -> Any:
    if path.endswith("stamped_headers") and value:
        return sorted(value)  # Celery's client has them in a set
    if not isinstance(value, str):
        return value
    if path.endswith("reply_to"):
        return "a queue of replies" if value else value
    if path.endswith(".expiration"):
        return f"{round(int(value) / 1000 / _STEP_S) * _STEP_S} s"
    if _TIME.match(value):
        ahead_s = datetime.fromisoformat(value).timestamp() - at
        return f"in {round(ahead_s / _STEP_S) * _STEP_S} s"
    return _numbered(value, ids)


def _numbered(value: str, ids: dict[str, str]) -> str:
    """Put numbers in place of ids."""
    return _ID.sub(lambda match: ids.setdefault(match[0], f"id {len(ids) + 1}"), value)
