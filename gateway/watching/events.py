"""What streams send, decoded from notices and stream entries, encoded once for all who watch."""

from typing import Literal

import orjson

from gateway.access.task_id import IssuedId
from gateway.states.records import decode
from gateway.states.state import State, shortened, state_of

Kind = Literal["state", "log", "gap", "error"]


class Event:
    """One message about one task.

    Args:
        kind: `state`, `log`, `gap` or `error`.
        task_id: The task; None for errors about no single task.
        state: The state of a `state`.
        members: The members of the others.
        cursor: Place in the event stream, if it has one.
        raw: The bytes that it was decoded from, to know the same state again.
    """

    __slots__ = (
        "_data",
        "_frames",
        "cursor",
        "final",
        "kind",
        "members",
        "position",
        "raw",
        "state",
        "task_id",
    )

    def __init__(
        self,
        kind: Kind,
        task_id: str | None,
        *,
        state: State | None = None,
        members: dict[str, str] | None = None,
        cursor: str | None = None,
        raw: bytes | None = None,
    ) -> None:
        self.kind = kind
        self.task_id = task_id
        self.state = state
        self.members = members
        self.cursor = cursor
        self.position = position(cursor) if cursor else None
        """The cursor as a number that grows along the stream."""
        self.raw = raw
        self.final = state is not None and state.final
        self._data: dict[bool, bytes] = {}
        self._frames: dict[bool, bytes] = {}

    def data(self, *, admin: bool) -> bytes:
        """Return the JSON object without its type."""
        data = self._data.get(admin)
        if data is None:
            cursor = b'"cursor":"%b",' % self.cursor.encode() if self.cursor else b""
            if self.state is not None:
                body = self.state.to_json(admin=admin)
            else:
                id_member = {"id": self.task_id} if self.task_id is not None else {}
                body = orjson.dumps({**id_member, **(self.members or {})})
            data = self._data[admin] = b"{" + cursor + body[1:]
        return data

    def message(self, *, admin: bool) -> bytes:
        """Return the JSON message of a WebSocket."""
        data = self.data(admin=admin)
        separator = b"," if len(data) > 2 else b""
        return b'{"type":"%b"%b%b' % (self.kind.encode(), separator, data[1:])

    def frame(self, *, admin: bool) -> bytes:
        """Return the message as a WebSocket frame."""
        frame = self._frames.get(admin)
        if frame is None:
            frame = self._frames[admin] = text_frame(self.message(admin=admin))
        return frame

    def server_sent(self, *, admin: bool) -> bytes:
        """Return the message as a Server-Sent Event; an end without cursor has an id, too."""
        cursor = self.cursor or ("ended" if self.final else None)
        line = b"id: %b\n" % cursor.encode() if cursor else b""
        return b"event: %b\n%bdata: %b\n\n" % (self.kind.encode(), line, self.data(admin=admin))


def position(cursor: str) -> int:
    """Return a cursor `<ms>-<n>` as a number."""
    millis, _, count = cursor.partition("-")
    return (int(millis) << 64) | int(count)


def unix_time(place: int) -> float:
    """Return when Redis gave a position, unix seconds."""
    return (place >> 64) / 1000


def text_frame(message: bytes) -> bytes:
    """Return a whole, unmasked text frame: RFC 6455, section 5.2."""
    size = len(message)
    if size < 126:
        return b"\x81" + bytes((size,)) + message
    if size < 1 << 16:
        return b"\x81\x7e" + size.to_bytes(2, "big") + message
    return b"\x81\x7f" + size.to_bytes(8, "big") + message


def close_frame(code: int, reason: bytes) -> bytes:
    """Return a Close frame: RFC 6455, section 5.5.1. The reason has at most 123 octets."""
    payload = code.to_bytes(2, "big") + reason
    return bytes((0x88, len(payload))) + payload


def state_event(state: State, size: int = 0, raw: bytes | None = None) -> Event:
    """Return the message of a state, or of why there is none.

    Args:
        state: The state.
        size: Octets of its record; a long one is sent without its result.
        raw: Its record.
    """
    if state.code is not None:
        return error_event(state.code, "there is no state to tell", state.id)
    return Event("state", state.id, state=shortened(state, size), cursor=state.cursor, raw=raw)


def error_event(code: str, detail: str, task_id: str | None = None) -> Event:
    """Return the message of an error."""
    return Event("error", task_id, members={"code": code, "detail": detail})


def gap_event(task_id: str) -> Event:
    """Return the message that something may have been missed."""
    return Event("gap", task_id)


def decode_event(
    task_id: str, data: bytes, issued: IssuedId | None, cursor: str | None = None
) -> Event | None:
    """Return the message of a notice, or of an entry of the event stream.

    Args:
        task_id: The task.
        data: JSON.
        issued: What its id says of itself.
        cursor: Of an entry, which does not hold it.

    Returns:
        None when it is neither.
    """
    record = decode(data)
    if record is None:
        return None
    if cursor is not None:
        record.cursor = cursor
    if record.log is not None:
        members = {"stream": record.log.stream, "line": record.log.line}
        return Event("log", task_id, members=members, cursor=record.cursor)
    if not record.status:
        return None
    return state_event(state_of(task_id, record, issued), len(data), data)
