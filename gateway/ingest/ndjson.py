"""Lines of a streamed body, each within its bound. Pure."""

from typing import Final

TOO_LONG: Final = b"\x00too long"
"""Stands, by identity, for a line (or array element) over its bound: read past, not kept."""


class LineSplitter:
    """Cuts chunks into lines. Holds at most one line and one chunk.

    Args:
        max_line_bytes: A longer line, counted without its newline, becomes `TOO_LONG`.
    """

    def __init__(self, max_line_bytes: int) -> None:
        self._max_bytes = max_line_bytes
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that end in the chunk, without their newlines."""
        lines = chunk.split(b"\n")
        rest = lines.pop()
        if lines and self._parts:
            lines[0] = self._finish(lines[0])
        max_bytes = self._max_bytes
        if lines and len(chunk) > max_bytes and max(map(len, lines)) > max_bytes:
            lines = [
                line if len(line) <= max_bytes or line is TOO_LONG else TOO_LONG for line in lines
            ]
        if rest:
            self._hold(rest)
        return lines

    @property
    def pending_bytes(self) -> int:
        """Octets of the line that has begun and not ended."""
        return self._size

    def end(self) -> list[bytes]:
        """The last line, when no newline ends it."""
        return [self._finish(b"")] if self._parts else []

    def _hold(self, part: bytes) -> None:
        self._size += len(part)
        if self._size > self._max_bytes:
            self._parts = [b""]  # only the size is remembered
        else:
            self._parts.append(part)

    def _finish(self, part: bytes) -> bytes:
        self._hold(part)
        line = TOO_LONG if self._size > self._max_bytes else b"".join(self._parts)
        self._parts = []
        self._size = 0
        return line
