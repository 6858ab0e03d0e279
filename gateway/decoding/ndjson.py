"""Lines of a streamed body, each within its bound. Pure."""

import re
from collections.abc import Iterator
from typing import Final

from gateway.decoding.splitter import TOO_LONG, WHITESPACE, Part

_FIRST_PRINTABLE: Final = b"!"
_SHORT: Final = 64
"""Octets of a blank line that is surely within the bound; a longer one is looked at by itself."""
_BLANK_LINES: Final = re.compile(rb"\n(?:[ \t\r]{0,%d}+\n)++" % _SHORT)
_WORTHWHILE: Final = 64
"""Fewer blank lines are yielded among the others: that costs less than a part of their own."""
_DENSE_BYTES: Final = 8
"""Only text with less than so many octets a line is searched for blank ones."""


class LineSplitter:
    """Cuts chunks into lines. Holds at most one line and one chunk.

    Args:
        max_line_bytes: A longer line, counted without its newline (LF or CR LF), becomes
            `TOO_LONG`, also when it is blank.
    """

    def __init__(self, max_line_bytes: int) -> None:
        self._max_bytes = max_line_bytes
        # One buffer: a list would hold an object for each octet that comes alone.
        self._open = bytearray()
        self._size = 0

    def feed(self, chunk: bytes) -> Iterator[Part]:
        """Yield the lines that end in a chunk, without their newlines."""
        last = chunk.rfind(b"\n")
        if last >= 0:
            lines, chunk = chunk[:last], chunk[last + 1 :]
            if self._size:
                first, newline, lines = lines.partition(b"\n")
                self._hold(first)
                yield self._finish()
                if newline:
                    yield from self._split(lines)
            else:
                yield from self._split(lines)
        if chunk:
            self._hold(chunk)

    @property
    def pending_bytes(self) -> int:
        """Octets of the line that has begun and not ended."""
        return len(self._open)

    @property
    def one_value(self) -> bool:
        """Never: each line stands for itself."""
        return False

    def path(self, number: int) -> str:  # noqa: ARG002  # errors give the line beside it
        """Return `$`: a line is a value of its own."""
        return "$"

    def end(self) -> Iterator[Part]:
        """Yield the last line, when no newline ends it."""
        if self._size:
            yield self._finish()

    def _split(self, text: bytes) -> Iterator[Part]:
        """Yield the lines of a text that does not end with a newline of theirs."""
        short = len(text) <= self._max_bytes
        if short and text[:1] < _FIRST_PRINTABLE and not text.strip(WHITESPACE):
            yield text.count(b"\n") + 1
            return
        at = 0
        if self._max_bytes >= _SHORT and text.count(b"\n") * _DENSE_BYTES > len(text):
            for found in _BLANK_LINES.finditer(text):
                start, end = found.span()
                if end - start > _WORTHWHILE and (newlines := found[0].count(b"\n")) > _WORTHWHILE:
                    yield self._lines(text[at:start])
                    yield newlines - 1  # the first one ends the line before them
                    at = end
        yield self._lines(text[at:])

    def _lines(self, text: bytes) -> list[bytes]:
        lines = text.split(b"\n")
        if len(text) > self._max_bytes:
            bound = self._max_bytes
            lines = [line if len(line) <= bound else self._long(line) for line in lines]
        if min(lines) < _FIRST_PRINTABLE:
            return [line if line is TOO_LONG else line and line.strip(WHITESPACE) for line in lines]
        return lines

    def _long(self, line: bytes) -> bytes:
        """Return a line over the bound, which may be there by the CR of its newline alone."""
        whole = len(line) == self._max_bytes + 1 and line.endswith(b"\r")
        return line[:-1] if whole else TOO_LONG

    def _hold(self, part: bytes) -> None:
        self._size += len(part)
        if self._size > self._max_bytes + 1:
            self._open.clear()  # only the size is remembered
        else:
            self._open += part

    def _finish(self) -> Part:
        line = bytes(self._open)
        if self._size > self._max_bytes:
            line = self._long(line)
        self._open.clear()
        self._size = 0
        return [line] if line.strip(WHITESPACE) else 1
