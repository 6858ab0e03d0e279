"""A record of a task in Redis, read as facts; of one that is long, as far as its head says.

    {"cursor":"5-0","first":"4-0","status":"SUCCESS","task_id":"…", …,"traceback":…,"result":…}

The members that history wants stand before the result, but for an error: of one that is long (the
record has its text three times) the record is read on. A record without `first` has a stream of
events beside it, which tells its changes.
"""

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from history.writing.facts import MAX_MESSAGE_CHARS, Change, Error, Facts
from penstock.wire.records import shown

HEAD_BYTES = 1536
"""Of a record that is read at first: all of most."""
LONG_HEAD_BYTES = 128 * 1024
"""Of the record of an error, with its traceback."""
WHOLE_BYTES = 1024 * 1024
"""Of a record whose error ends behind that: all of nearly every one."""
TOO_LONG = "the text of the error is too long to be kept"
_ERRORS = frozenset({"FAILURE", "RETRY", "REVOKED"})
_MOST_TEXT = 500
_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"[\s,:]*")


def members_of(head: bytes) -> tuple[dict[str, Any], bool]:
    """Return the members of a JSON object whose end may be cut off, and whether all is there.

    Args:
        head: octets of the object from its beginning.
    """
    try:
        found = orjson.loads(head)
    except orjson.JSONDecodeError:
        return _cut_members_of(head.decode("utf-8", "ignore"))[0], False
    return (found, True) if isinstance(found, dict) else ({}, True)


def with_error(head: bytes) -> dict[str, Any]:
    """Return the members of the record of an error, however long: of its text what is kept.

    Args:
        head: octets of the record from its beginning.
    """
    text = head.decode("utf-8", "ignore")
    found, name, value = _cut_members_of(text)
    if isinstance(result := found.get("result"), dict):
        told = shown(result)
        found["result"] = {"type": told["type"], "text": told["message"][:MAX_MESSAGE_CHARS]}
    elif "result" not in found:
        kind = _cut_members_of(value)[0].get("exc_type") if name == "result" else None
        kind = kind.rpartition(".")[2] if isinstance(kind, str) else "Exception"
        found["result"] = {"type": kind, "text": TOO_LONG}
    return found


def _cut_members_of(text: str) -> tuple[dict[str, Any], str, str]:
    """Return the members that are whole; name and beginning of the one that is not."""
    found: dict[str, Any] = {}
    key, start = "", len(text)
    if not text.startswith("{"):
        return found, key, ""
    place = 1
    try:
        while place < len(text):
            key, place = _DECODER.raw_decode(text, _skip(text, place))
            start = _skip(text, place)
            value, place = _DECODER.raw_decode(text, start)
            if place == len(text):  # a number may go on
                break
            found[str(key)] = value
    except (ValueError, RecursionError):
        pass
    return found, str(key), text[start:]


def _skip(text: str, place: int) -> int:
    matched = _SPACE.match(text, place)
    return matched.end() if matched else place


def facts_of(task_id: str, record: Mapping[str, Any], events: Iterable[tuple[str, Any]]) -> Facts:
    """Return what a record and its events say.

    Args:
        task_id: of the task.
        record: members of the record.
        events: cursors and events (JSON) behind what is known; none where the record is packed.
    """
    facts = Facts(
        task_id=task_id,
        task=_word(record.get("name")),
        tenant=_word(record.get("tenant")),
        queue=_word(record.get("queue")),
        root=_word(record.get("root_id")),
        parent=_word(record.get("parent_id")),
        group=_word(record.get("group_id")),
        retried_from=_word(record.get("retried_from")),
        started_at=_time(record.get("started_at")),
    )
    cursor, first = _word(record.get("cursor")), _word(record.get("first"))
    if cursor is None:
        return facts
    if first is not None and first != cursor:
        started = Change(cursor=first, state="STARTED")
        started.attempt, started.worker = _attempt(record), _word(record.get("worker"))
        facts.changes.append(started)
    for event_cursor, text in events:
        event = members_of(text)[0]
        if isinstance(event.get("status"), str):
            facts.changes.append(_change(event_cursor, event))
            facts.started_at = facts.started_at or _time(event.get("started_at"))
    last = _change(cursor, record)
    if not facts.changes or facts.changes[-1].cursor != cursor:
        facts.changes.append(last)
    elif not facts.changes[-1].extras:  # the event of a long record says no more than the state
        facts.changes[-1].extras = last.extras
    if record.get("status") in _ERRORS:
        facts.error = _error(record)
    return facts


def _change(cursor: str, event: Mapping[str, Any]) -> Change:
    state = str(event.get("status"))
    extras: dict[str, Any] = {}
    result = event.get("result")
    if state == "PROGRESS" and isinstance(result, dict):
        extras["progress"] = {
            name: result[name][:_MOST_TEXT] if isinstance(result[name], str) else result[name]
            for name in ("current", "total", "message")
            if isinstance(result.get(name), str | int | float) and _fits(result[name])
        }
    elif state in _ERRORS and isinstance(result, dict):
        told = shown(result)
        extras["error"] = {name: text[:_MOST_TEXT] for name, text in told.items()}
    return Change(
        cursor=cursor,
        state=state,
        attempt=_attempt(event),
        worker=_word(event.get("worker")),
        extras=extras,
    )


def _fits(value: Any) -> bool:
    """Whether BSON has a number of that size."""
    return not isinstance(value, int) or -(1 << 63) <= value < 1 << 63


def _error(record: Mapping[str, Any]) -> Error | None:
    result = record.get("result")
    if not isinstance(result, dict):
        return None
    told = shown(result)
    traceback = record.get("traceback")
    return Error(
        kind=told["type"],
        message=told["message"],
        traceback=traceback if isinstance(traceback, str) else None,
    )


def _word(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _attempt(record: Mapping[str, Any]) -> int | None:
    value = record.get("retries")
    return value if isinstance(value, int) and _fits(value) else None


def _time(value: Any) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        return None
    found = found if found.tzinfo else found.replace(tzinfo=UTC)
    return found.replace(microsecond=found.microsecond // 1000 * 1000)  # as MongoDB keeps it
