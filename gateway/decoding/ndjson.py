"""Lines of a streamed body, each within its bound. Pure."""

import itertools
import re
from collections.abc import Iterator
from typing import Final

from gateway.decoding.splitter import TOO_LONG, WHITESPACE, Part

_FIRST_PRINTABLE: Final = b"!"
_BLANK: Final = re.compile(rb"[ \t\r\n]*+")
_TO_A_BLANK_LINE: Final = re.compile(rb"\n(?=[ \t\r]*+\n)")


class LineSplitter:
    """Cuts chunks into lines. Holds at most one line and one chunk.

    Args:
        max_line_bytes: A longer line, counted without its newline, becomes `TOO_LONG`.
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

    def end(self) -> Iterator[Part]:
        """Yield the last line, when no newline ends it."""
        if self._size:
            yield self._finish()

    def _split(self, text: bytes) -> Iterator[Part]:
        lines = self._bounded(text.split(b"\n"))
        if min(lines) >= _FIRST_PRINTABLE:
            yield lines
        elif lines.count(b"") * 8 > len(lines) * 7:
            yield from self._runs(text + b"\n")
        else:
            lines = list(map(bytes.strip, lines, itertools.repeat(WHITESPACE)))
            yield lines if any(lines) else len(lines)

    def _runs(self, text: bytes) -> Iterator[Part]:
        """The same for text that is blank for the most part."""
        at = 0
        while at < len(text):
            found = _BLANK.match(text, at)
            begin = text.rfind(b"\n", at, found.end() if found else at) + 1
            if begin > at:
                yield text.count(b"\n", at, begin)
                at = begin
            else:
                blank = _TO_A_BLANK_LINE.search(text, at)
                end = blank.start() if blank else len(text) - 1
                yield self._bounded(text[at:end].split(b"\n"))
                at = end + 1

    def _bounded(self, lines: list[bytes]) -> list[bytes]:
        bound = self._max_bytes
        if max(map(len, lines)) <= bound:
            return lines
        return [line if len(line) <= bound else TOO_LONG for line in lines]

    def _hold(self, part: bytes) -> None:
        self._size += len(part)
        if self._size > self._max_bytes:
            self._open.clear()  # only the size is remembered
        else:
            self._open += part

    def _finish(self) -> Part:
        line = TOO_LONG if self._size > self._max_bytes else bytes(self._open)
        self._open.clear()
        self._size = 0
        return [line] if line.strip(WHITESPACE) else 1
