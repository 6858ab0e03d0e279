"""Records of tasks, decoded: what Celery stores, and what our workers add. Pure."""

import json
import math
import re

import msgspec

from gateway.states import other_serializers
from penstock.wire.json_meaning import without_marks

NO_RESULT = msgspec.Raw(b"null")
_WITHOUT_REQUEST = re.compile(rb'(?<!\\)"children": ?null')
"""A worker of Celery 5.6 or 5.7 that hears of a revocation stores REVOKED without a request, though
the task may wait, run or never have been there (`celery.worker.control._revoke`). The one that
drops the task has its request, and stores a list of children (`Backend.current_task_children`). The
first is no end: the task runs after all if the workers are restarted."""


class Log(msgspec.Struct):
    """A line of output."""

    stream: str
    line: str


class Record(msgspec.Struct):
    """What Celery stores of a task, and what the workers add."""

    status: str = ""
    cursor: str | None = None
    result: msgspec.Raw = NO_RESULT
    traceback: str | None = None
    date_done: str | None = None
    name: str | None = None
    worker: str | None = None
    retries: int | None = None
    retried_from: str | None = None
    started_at: str | None = None
    trace_id: str | None = None
    truncated: bool = False
    log: Log | None = None
    serializer: str | None = None
    """In which the record is stored, where that is not JSON: its result is not known then."""
    json: str | None = None
    """What the JSON of `result` means, see `penstock.wire.json_meaning`; None: what Celery says."""


def decode(data: bytes) -> Record | None:
    """Return a record or an event; None when it is not even JSON of the right form."""
    try:
        record = _DECODER.decode(data)
    except (msgspec.DecodeError, RecursionError):
        return _decode_lenient(data) or _decode_foreign(data)
    if record.status == "REVOKED" and record.cursor is None and _WITHOUT_REQUEST.search(data):
        return Record(status="PENDING")
    if record.json is not None:
        record.result = msgspec.Raw(without_marks(bytes(record.result), record.json))
    return record


def _decode_lenient(data: bytes) -> Record | None:
    try:
        # Celery's serialiser may write NaN and lone surrogates; and a program that stores states by
        # itself writes anything.
        text = json.dumps(json.loads(data), ensure_ascii=False)
        found = json.loads(
            text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"),
            parse_constant=lambda _: None,
            parse_float=_finite,
        )
        if not isinstance(found, dict) or (state := other_serializers.state_in(found)) is None:
            return None
        found["status"] = state
        meaning = found.get("json")
        compact = json.dumps(found.get("result"), separators=(",", ":")).encode()
        result = msgspec.Raw(without_marks(compact, meaning if isinstance(meaning, str) else None))
    except (ValueError, TypeError, RecursionError):
        return None
    texts = (
        "status", "cursor", "traceback", "date_done", "name", "worker", "started_at",
        "retried_from", "trace_id",
    )  # fmt: skip
    known = {name: found[name] for name in texts if isinstance(found.get(name), str)}
    retries, log = found.get("retries"), found.get("log")
    return Record(
        **known,
        result=result,
        retries=retries if isinstance(retries, int) else None,
        log=Log(str(log.get("stream")), str(log.get("line"))) if isinstance(log, dict) else None,
    )


def _decode_foreign(data: bytes) -> Record | None:
    """Return a record that is not JSON, without its result."""
    found = other_serializers.read(data)
    if found is None:
        return None
    members = found.members
    if members["status"] == "REVOKED" and members.get("children", ()) is None:
        return Record(status="PENDING")
    record = Record(status=str(members["status"]), serializer=found.serializer)
    for name in ("traceback", "date_done", "name", "worker"):
        if isinstance(value := members.get(name), str):
            setattr(record, name, value)
    if isinstance(retries := members.get("retries"), int):
        record.retries = retries
    error = members.get("result")
    if record.status in {"FAILURE", "RETRY", "REVOKED"} and isinstance(error, dict):
        record.result = msgspec.Raw(
            json.dumps(
                {name: error.get(name) for name in ("exc_type", "exc_message")}, default=str
            ).encode()
        )
    return record


def _finite(digits: str) -> float | None:
    number = float(digits)
    return number if math.isfinite(number) else None


_DECODER = msgspec.json.Decoder(Record)
