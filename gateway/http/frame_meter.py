"""What a WebSocket's client has sent and is not handled yet: counted, and bounded over all.

aiohttp keeps the frames of a message until its last one has ended, and messages until they are
asked for; it bounds both for each socket, which is much for ten thousand of them.
"""

from collections.abc import Callable
from typing import Final, Protocol

from gateway.errors import Problem

MAX_FRAGMENTS: Final = 1024
"""Frames of one message: each costs more than its octets."""
_STEP_BYTES: Final = 16 * 1024
"""Less is not worth counting."""
_MESSAGE_BYTES: Final = 256
"""What a message costs beside its own octets."""
_FIN: Final = 0x80
_MASKED: Final = 0x80
_CONTROL: Final = 0x8
_SIZE_OCTETS: Final = {126: 2, 127: 8}


class Reader(Protocol):
    """aiohttp's reader of frames."""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Take octets from the socket."""

    def feed_eof(self) -> None:
        """There will be no more."""


class FrameMeter:
    """Stands before aiohttp's reader and follows the heads of frames (RFC 6455, section 5.2).

    Args:
        reader: Reads the frames.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._head = bytearray()
        self._to_come = 0
        self._control = False
        self._fin = True
        self._open = 0
        self._fragments = 0
        self._waiting = 0
        self._counted = 0
        self._hold: Callable[[int], None] | None = None
        self._refuse: Callable[[Problem], None] | None = None
        self._refused = False

    def watch(self, hold: Callable[[int], None], refuse: Callable[[Problem], None]) -> None:
        """Begin to count.

        Args:
            hold: Counts octets, negative ones as let go; raises Problem when there is no room.
            refuse: Ends the socket.
        """
        self._hold, self._refuse = hold, refuse

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Take octets from the socket."""
        if self._refused:
            return True, b""
        try:
            self._follow(data)
            self._count()
        except Problem as problem:
            self._refused, refuse = True, self._refuse
            self.release()
            if refuse is not None:
                refuse(problem)
            return True, b""
        return self._reader.feed_data(data)

    def feed_eof(self) -> None:
        """There will be no more."""
        self.release()
        self._reader.feed_eof()

    def handled(self, size: int) -> None:
        """Count a message of so many octets as handled."""
        self._waiting = max(0, self._waiting - size - _MESSAGE_BYTES)
        self._count()

    def release(self) -> None:
        """Count nothing any more, and forget the socket: it and its connection are a cycle else."""
        if self._hold is not None and self._counted:
            self._hold(-self._counted)
        self._counted = 0
        self._hold = self._refuse = None

    def _count(self) -> None:
        total = self._open + self._waiting
        change = total - self._counted
        if self._hold is not None and (
            abs(change) >= _STEP_BYTES or (self._counted and total < _STEP_BYTES)
        ):
            self._hold(change)
            self._counted = total

    def _follow(self, data: bytes) -> None:
        at, size = 0, len(data)
        while at < size:
            if self._to_come:
                part = min(self._to_come, size - at)
                self._to_come -= part
                at += part
                if not self._control:
                    self._open += part
            else:
                at = self._take_head(data, at)
                if self._head:
                    return  # the rest of it comes later
            if not self._to_come:
                self._end_frame()

    def _take_head(self, data: bytes, at: int) -> int:
        head = self._head
        before = len(head)
        head += data[at : at + 14 - before]
        if len(head) < 2:
            return len(data)
        length = head[1] & 0x7F
        octets = _SIZE_OCTETS.get(length, 0)
        whole = 2 + octets + (4 if head[1] & _MASKED else 0)
        if len(head) < whole:
            return len(data)
        if octets:
            length = int.from_bytes(head[2 : 2 + octets], "big")
        self._fin = bool(head[0] & _FIN)
        self._control = bool(head[0] & _CONTROL)
        self._to_come = length
        head.clear()
        return at + whole - before

    def _end_frame(self) -> None:
        if self._control or self._fin:
            self._waiting += _MESSAGE_BYTES
        if self._control:
            return
        if self._fin:
            self._waiting += self._open
            self._open = self._fragments = 0
            return
        self._fragments += 1
        if self._fragments > MAX_FRAGMENTS:
            raise Problem("invalid-request", f"a message has over {MAX_FRAGMENTS} frames")
