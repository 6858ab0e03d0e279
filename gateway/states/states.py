"""Task states: Celery's records decoded, and read from Redis in one round trip.

no record ─┬─ too young to have been forgotten ─► PENDING
           ├─ marked as ended, or old enough ───► 410 result-expired
           └─ not an id of ours ────────────────► 404 unknown-task-id
"""

import json
import math
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from gateway.access.task_id import IssuedId
from gateway.redis.client import RedisClient
from gateway.timestamps import rfc3339
from penstock.wire.json_meaning import without_marks
from penstock.wire.keys import ENDED_EXTRA_S, TaskKeys
from penstock.wire.records import FINAL, LONG_RECORD_BYTES, shown

READ_BUDGET_BYTES = 32 * 1024 * 1024
"""Records read at once; what is beyond takes another round trip."""
MAX_TOLD_BYTES = LONG_RECORD_BYTES + 64
"""A longer record is told without its result; 64 bytes are what a cursor takes."""
CURSOR = re.compile(r"\d{1,19}-\d{1,19}")
"""A place in an event stream: the entry id of a Redis stream."""
_AS_STORED = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00")
"""A time as the workers write it: the same as told, but for its end."""

_MISSING, _FORGOTTEN, _LATER, _NO_RECORD = 0, 1, 2, 3
_NULL = msgspec.Raw(b"null")


class Log(msgspec.Struct):
    """A line of output."""

    stream: str
    line: str


class Record(msgspec.Struct):
    """What Celery stores of a task, and what the workers add."""

    status: str = ""
    cursor: str | None = None
    result: msgspec.Raw = _NULL
    traceback: str | None = None
    date_done: str | None = None
    name: str | None = None
    worker: str | None = None
    retries: int | None = None
    started_at: str | None = None
    truncated: bool = False
    log: Log | None = None
    json: str | None = None
    """What the JSON of `result` means, see `penstock.wire.json_meaning`; None: what Celery says."""


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
    worker: str | None = None
    progress: bytes | None = None
    """Raw JSON."""
    result: bytes | None = None
    """Raw JSON as stored, of a SUCCESS."""
    error: Mapping[str, str] | None = None
    """`type` and `message` of a FAILURE, RETRY or REVOKED."""
    traceback: str | None = None
    truncated: bool = False
    """The result was left out because of its size."""

    @property
    def final(self) -> bool:
        """Whether the task ended."""
        return self.state in FINAL

    def to_json(self, *, admin: bool) -> bytes:
        """The JSON object of the API, the result's bytes as they were stored.

        Args:
            admin: Show the traceback.
        """
        error = self.error
        if error is not None and admin and self.traceback:
            error = {**error, "traceback": self.traceback}
        members = _Members(
            id=self.id,
            code=self.code,
            tracked=None if self.tracked else False,
            task=self.task,
            state=self.state or None,
            accepted_at=self.accepted_at,
            started_at=self.started_at,
            finished_at=self.finished_at,
            retries=self.retries,
            worker=self.worker,
            error=error,
            truncated=self.truncated or None,
        )
        body = _encode(members)
        if self.progress is not None:
            body = b'%b,"progress":%b}' % (body[:-1], self.progress)
        if self.result is not None and not self.truncated:
            body = b'%b,"result":%b}' % (body[:-1], self.result)
        return body


class _Members(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A state as the API prints it, in this order."""

    id: str
    code: str | None = None
    tracked: bool | None = None
    task: str | None = None
    state: str | None = None
    accepted_at: str | None = None
    started_at: str | None = None
    finished_at: str | None = None
    retries: int | None = None
    worker: str | None = None
    error: Mapping[str, str] | None = None
    truncated: bool | None = None


_encode = msgspec.json.Encoder().encode


def decode(data: bytes) -> Record | None:
    """A record or event; None when it is not even JSON of the right form."""
    try:
        record = _DECODER.decode(data)
    except (msgspec.DecodeError, RecursionError):
        return _decode_lenient(data)
    if record.json is not None:
        record.result = msgspec.Raw(without_marks(bytes(record.result), record.json))
    return record


def _decode_lenient(data: bytes) -> Record | None:
    try:
        # Celery's serialiser may write NaN and lone surrogates; and whoever stores states by hand
        # writes anything.
        text = json.dumps(json.loads(data), ensure_ascii=False)
        found = json.loads(
            text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"),
            parse_constant=lambda _: None,
            parse_float=_finite,
        )
        if not isinstance(found, dict) or not isinstance(found.get("status"), str):
            return None
        result = msgspec.Raw(json.dumps(found.get("result")).encode())
    except (ValueError, TypeError, RecursionError):
        return None
    texts = ("status", "cursor", "traceback", "date_done", "name", "worker", "started_at")
    known = {name: found[name] for name in texts if isinstance(found.get(name), str)}
    retries, log = found.get("retries"), found.get("log")
    return Record(
        **known,
        result=result,
        retries=retries if isinstance(retries, int) else None,
        log=Log(str(log.get("stream")), str(log.get("line"))) if isinstance(log, dict) else None,
    )


def _finite(digits: str) -> float | None:
    number = float(digits)
    return number if math.isfinite(number) else None


_DECODER = msgspec.json.Decoder(Record)


def state_of(task_id: str, record: Record, issued: IssuedId | None) -> State:
    """What a record says, in the words of the API."""
    status = record.status
    progress = result = error = traceback = None
    worker = record.worker
    if status == "SUCCESS":
        result = bytes(record.result)
    elif status in {"FAILURE", "RETRY", "REVOKED"}:
        error = _error(record.result)
        traceback = record.traceback
    elif record.result != _NULL:
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
        accepted_at=_accepted_at(issued),
        task=record.name,
        started_at=_time(record.started_at),
        finished_at=_time(record.date_done) if status in FINAL else None,
        retries=record.retries,
        worker=worker,
        progress=progress,
        result=result,
        error=error,
        traceback=traceback,
        truncated=record.truncated,
    )


def told(state: State, size: int) -> State:
    """The state as streams tell it: without the result when its record is long."""
    if size <= MAX_TOLD_BYTES or state.truncated:
        return state
    return msgspec.structs.replace(state, result=None, progress=None, truncated=True)


class States:
    """Reads states.

    Args:
        redis: From `make_redis`.
        result_expires_s: How long the workers keep results.
    """

    def __init__(self, redis: RedisClient, result_expires_s: int) -> None:
        self._read = redis.script("task_read")
        self._kept_s = result_expires_s + ENDED_EXTRA_S

    async def read(self, ids: Mapping[str, IssuedId | None]) -> dict[str, State]:
        """The states of tasks, in the order of the ids, in one round trip.

        Args:
            ids: What each id says of itself; None for ids that others issued.

        Raises:
            RedisAwayError: As a problem: `state-unavailable`.
        """
        found: dict[str, State] = {}
        async for part in self.read_parts(ids):
            found.update(part)
        return found

    async def read_parts(
        self, ids: Mapping[str, IssuedId | None]
    ) -> AsyncIterator[dict[str, State]]:
        """The same in parts, each of as many states as fit in `READ_BUDGET_BYTES`.

        Raises:
            RedisAwayError: As a problem: `state-unavailable`.
        """
        left = list(ids.items())
        while left:
            tracked = [task_id for task_id, issued in left if issued is None or issued.tracked]
            records = dict(zip(tracked, await self._records(tracked), strict=True))
            part: dict[str, State] = {}
            for task_id, issued in left:
                record = records.pop(task_id, _MISSING)
                if record == _LATER:
                    break
                part[task_id] = self.interpret(task_id, record, issued)
            left = left[len(part) :]
            yield part

    async def _records(self, ids: Sequence[str]) -> list[bytes | int]:
        if not ids:
            return []
        keys: list[str] = []
        for task_id in ids:
            task = TaskKeys.of(task_id)
            keys += (task.record, task.ended, task.revoked)
        answer: list[bytes | int] = await self._read(keys=keys, args=[READ_BUDGET_BYTES])
        return answer

    def interpret(self, task_id: str, record: bytes | int, issued: IssuedId | None) -> State:
        """What Redis' answer for one task means.

        Args:
            task_id: The id.
            record: The record, or a number of the scripts.
            issued: What the id says of itself; None: others issued it.
        """
        if issued is not None and not issued.tracked:
            accepted_at = rfc3339(issued.issued_at)
            return State(id=task_id, state="", tracked=False, accepted_at=accepted_at)
        if isinstance(record, bytes):
            decoded = decode(record)
            if decoded is None or not decoded.status:
                return State(id=task_id, state="", code="internal-error")
            return state_of(task_id, decoded, issued)
        if record == _NO_RECORD:
            return State(id=task_id, state="", code="internal-error")
        if record == _FORGOTTEN:
            return State(id=task_id, state="", code="result-expired")
        if issued is None:
            return State(id=task_id, state="", code="unknown-task-id")
        if time.time() > issued.due_by + self._kept_s:
            return State(id=task_id, state="", code="result-expired")
        return State(id=task_id, state="PENDING", cursor="0-0", accepted_at=_accepted_at(issued))


def _accepted_at(issued: IssuedId | None) -> str | None:
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
