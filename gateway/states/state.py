"""The state of a task: what its record says, in the words of the API. Pure."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from msgspec import UNSET

from gateway.access.task_id import IssuedId
from gateway.states.records import NO_RESULT, Record
from gateway.timestamps import Time, rfc3339
from penstock.wire.records import FINAL, LONG_RECORD_BYTES, shown

MAX_STREAMED_BYTES = LONG_RECORD_BYTES + 64
"""Streams send a longer record without its result; 64 bytes are what a cursor takes."""
CURSOR = re.compile(r"[0-9]{1,19}-[0-9]{1,19}")
"""A place in an event stream: the entry id of a Redis stream."""
_AS_STORED = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00", re.ASCII)
"""A time as the workers write it: as the API prints it, but for its end."""

TRACE = re.compile(r"[0-9a-f]{32}")


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one task. A Struct: a frozen dataclass costs five times as much to make."""

    id: str
    state: str
    """Celery's, or a user's own; empty when `code` is set or nothing is tracked."""
    code: str | None = None
    """Why there is no state: `unknown-task-id`, `result-expired`, `internal-error`."""
    tracked: bool = True
    """False: no single state exists."""
    cursor: str | None = None
    """Place in the task's event stream; `0-0` before the first event, None for stock workers."""
    accepted_at: str | None = None
    task: str | None = None
    started_at: str | None = None
    finished_at: str | None = None
    retries: int | None = None
    retried_from: str | None = None
    worker: str | None = None
    trace_id: str | None = None
    progress: bytes | None = None
    """Raw JSON."""
    result: bytes | None = None
    """Raw JSON as stored, of a SUCCESS."""
    error: Mapping[str, str] | None = None
    """`type` and `message` of a FAILURE, RETRY or REVOKED."""
    traceback: str | None = None
    truncated: bool = False
    """The result was left out because of its size."""
    result_absent: str | None = None
    """Why a SUCCESS has no result."""

    @property
    def final(self) -> bool:
        """Whether the task ended."""
        return self.state in FINAL

    def to_json(self, *, admin: bool) -> bytes:
        """Return the JSON object of the API, the result's bytes as they were stored.

        Args:
            admin: Show the traceback.
        """
        error: TaskError | None = None
        if self.error is not None:
            error = TaskError(**self.error, traceback=(self.traceback or None) if admin else None)
        return _encode(
            TaskState(
                id=self.id,
                code=self.code,
                tracked=None if self.tracked else False,
                task=self.task,
                state=self.state or None,
                accepted_at=self.accepted_at,
                started_at=self.started_at,
                finished_at=self.finished_at,
                retries=self.retries,
                retried_from=self.retried_from,
                worker=self.worker,
                trace_id=self.trace_id,
                error=error,
                truncated=self.truncated or None,
                result_absent=self.result_absent,
                progress=UNSET if self.progress is None else msgspec.Raw(self.progress),
                result=UNSET if self.result is None or self.truncated else msgspec.Raw(self.result),
            )
        )


class TaskError(msgspec.Struct, omit_defaults=True):
    """Why a task failed, is tried again, or was revoked."""

    type: str
    message: str
    traceback: str | None = None
    """Only for `admin`."""


class TaskState(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What is known of a task; what is not known is absent."""

    id: str
    code: str | None = None
    """Why there is no state: `unknown-task-id`, `result-expired`, `internal-error`."""
    tracked: bool | None = None
    """False: no single state exists, as several queues took it or `ignore_result` was set."""
    task: str | None = None
    state: str | None = None
    """PENDING, STARTED, PROGRESS, RETRY, SUCCESS, FAILURE, REVOKED, or a user's."""
    accepted_at: Time | None = None
    started_at: Time | None = None
    finished_at: Time | None = None
    retries: Annotated[int, msgspec.Meta(ge=0)] | None = None
    retried_from: str | None = None
    """The task that was published again as this one; absent until it has started."""
    worker: str | None = None
    trace_id: str | None = None
    """Of the trace that has its execution, 32 hex digits; absent where it is not sampled."""
    error: TaskError | None = None
    truncated: bool | None = None
    """True: the result was left out because of its size."""
    result_absent: str | None = None
    """Why a SUCCESS has no result: its app does not store JSON."""
    progress: msgspec.Raw | msgspec.UnsetType = UNSET
    """What the task reported last: `current`, `total`, `message`, or an object of its own."""
    result: msgspec.Raw | msgspec.UnsetType = UNSET
    """What the task returned, byte for byte."""


_encode = msgspec.json.Encoder().encode


def state_of(task_id: str, record: Record, issued: IssuedId | None) -> State:
    """Return what a record says, in the words of the API."""
    status = record.status
    progress = result = error = traceback = None
    worker = record.worker
    absent = None
    if status == "SUCCESS" and record.serializer is not None:
        absent = f"the app stores results as {record.serializer}, which only Python clients read"
    elif status == "SUCCESS":
        result = bytes(record.result)
    elif status in {"FAILURE", "RETRY", "REVOKED"}:
        error = _error(record.result)
        traceback = record.traceback
    elif record.result != NO_RESULT:
        if status == "STARTED":
            if worker is None:  # Celery's own STARTED: pid and hostname
                hostname = _object(record.result).get("hostname")
                worker = hostname if isinstance(hostname, str) else None
        elif _is_filled(raw := bytes(record.result)):
            progress = raw
    return State(
        id=task_id,
        state=status,
        cursor=record.cursor if record.cursor and CURSOR.fullmatch(record.cursor) else None,
        accepted_at=accepted_at(issued),
        task=record.name,
        started_at=_time(record.started_at),
        finished_at=_time(record.date_done) if status in FINAL else None,
        retries=record.retries,
        retried_from=record.retried_from,
        worker=worker,
        trace_id=record.trace_id if record.trace_id and TRACE.fullmatch(record.trace_id) else None,
        progress=progress,
        result=result,
        error=error,
        traceback=traceback,
        truncated=record.truncated,
        result_absent=absent,
    )


def shortened(state: State, size: int) -> State:
    """Return the state as streams send it: without the result when its record is long.

    Args:
        state: The state.
        size: Octets of its record.
    """
    if size <= MAX_STREAMED_BYTES or state.truncated:
        return state
    return msgspec.structs.replace(state, result=None, progress=None, truncated=True)


def accepted_at(issued: IssuedId | None) -> str | None:
    """Return when a task was accepted, by its id; None where others issued it."""
    return None if issued is None or issued.by_others else rfc3339(issued.issued_at)


def _object(raw: msgspec.Raw) -> dict[str, Any]:
    found = msgspec.json.decode(raw)
    return found if isinstance(found, dict) else {}


def _is_filled(raw: bytes) -> bool:
    """Whether it is an object with members."""
    return raw.startswith(b"{") and raw[1:].lstrip() != b"}"


def _error(raw: msgspec.Raw) -> dict[str, str] | None:
    """What an error says; a task may store any value as its own failure."""
    found = msgspec.json.decode(raw)
    if isinstance(found, dict):
        return shown(found) if found else None
    return None if found is None else {"type": "Exception", "message": str(found)}


def _time(text: str | None) -> str | None:
    """An ISO 8601 time as the API prints it; naive ones are UTC, as Celery writes them."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if _AS_STORED.fullmatch(text):
        return text[:23] + "Z"
    return rfc3339((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
