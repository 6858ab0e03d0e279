"""A streamed JSON array, cut into the raw bytes of its elements without parsing it whole. Pure.

    start ──[──► first ──element──► next ──,──► element ─┐
                   │                 ▲  │ ]              │
                   └──]──► after ◄───┼──┘                │
                                     └───────────────────┘

Where an element ends is guessed first: behind the last `},` of what has come. The guess is right
if and only if everything before it reads as complete elements, which msgspec tells at 0.1 µs an
element. Only where guesses fail, brackets and strings are counted one by one.
"""

import re
from collections.abc import Iterator
from typing import Final

import msgspec

from gateway.ingest.ndjson import TOO_LONG

_ELEMENTS: Final = msgspec.json.Decoder(list[msgspec.Raw])
_RAW: Final = msgspec.json.Decoder(msgspec.Raw)
_WHITESPACE: Final = b" \t\r\n"
_MARK: Final = re.compile(rb'["\[\]{},]')
_QUOTE_OR_BRACKET: Final = re.compile(rb'["\[\]{}]')
_GUESSES: Final = 3
_RESCANNED_BYTES: Final = 1 << 14
_MAX_GUESSED_BYTES: Final = 1 << 20
_SIGNATURE_BYTES: Final = 12


class MalformedArrayError(Exception):
    """The body is not a JSON array; the text says why."""


class ArraySplitter:
    """Cuts chunks of a JSON array into elements, which may still be malformed inside.

    Args:
        max_element_bytes: A longer element becomes `TOO_LONG`.
    """

    def __init__(self, max_element_bytes: int) -> None:
        self._max_bytes = max_element_bytes
        self._data = b""
        self._state = "start"
        self._scanned = 0
        self._depth = 0
        self._in_string = False
        self._too_long = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """The elements that end in the chunk.

        Raises:
            MalformedArrayError: What came is not the beginning of an array.
        """
        self._data += chunk
        if self._state == "start":
            self._data = self._data.lstrip(_WHITESPACE)
            if not self._data:
                return []
            if self._data[:1] != b"[":
                raise MalformedArrayError("it does not start with '['")
            self._data = self._data[1:]
            self._state = "first"
        if self._state == "after":
            return self._nothing_follows()
        elements = self._guess() if self._scanned == 0 and not self._too_long else []
        return elements + self._scan()

    @property
    def pending_bytes(self) -> int:
        """Octets held back until more comes."""
        return len(self._data)

    def end(self) -> list[bytes]:
        """The body has ended.

        Raises:
            MalformedArrayError: The array has not.
        """
        if self._state != "after":
            raise MalformedArrayError("the body ends within the array")
        return []

    def _guess(self) -> list[bytes]:
        """Elements up to a comma behind a brace, when one of the last few is between elements."""
        data = self._data
        if len(data) > _MAX_GUESSED_BYTES:
            return []
        for cut in _guesses(data):
            try:
                raws = _ELEMENTS.decode(b"[" + data[:cut] + b"]")
            except (msgspec.DecodeError, RecursionError):
                continue
            self._data = data[cut + 1 :]
            self._state = "next"
            return [self._bounded(bytes(raw)) for raw in raws]
        return []

    def _scan(self) -> list[bytes]:
        """Elements found by counting; remembers how far it came."""
        data, at, start = self._data, self._scanned, 0
        elements: list[bytes] = []
        while True:
            if self._in_string:
                at = self._string_end(data, at)
                if self._in_string:
                    break
            found = (_QUOTE_OR_BRACKET if self._depth else _MARK).search(data, at)
            if found is None:
                at = len(data)
                break
            at = found.end()
            mark = data[at - 1]
            if mark == _QUOTE:
                self._in_string = True
            elif mark in b"[{":
                self._depth += 1
            elif mark == _COMMA:
                elements.append(self._element(data[start : at - 1]))
                start = at
                self._state = "next"
            elif self._depth:
                self._depth -= 1
            elif mark == _END:
                last = data[start : at - 1]
                if self._state == "next" or self._too_long or last.strip(_WHITESPACE):
                    elements.append(self._element(last))
                self._data, self._scanned, self._state = data[at:], 0, "after"
                return elements + self._nothing_follows()
            else:
                raise MalformedArrayError("a '}' closes nothing")
        self._data = data[start:]
        self._scanned = at - start
        if len(self._data) > self._max_bytes:
            self._data = self._data[self._scanned :]
            self._scanned = 0
            self._too_long = True
        elif len(self._data) < _RESCANNED_BYTES and not self._too_long:
            self._scanned = self._depth = 0  # cheap enough to guess again
            self._in_string = False
        return elements

    def _string_end(self, data: bytes, at: int) -> int:
        """Just behind the string that is open at a position, or the end of the data."""
        while True:
            quote = data.find(b'"', at)
            if quote < 0:
                return len(data) - _trailing_backslashes(data[at:])
            escapes = _trailing_backslashes(data[at:quote])
            at = quote + 1
            if escapes % 2 == 0:
                self._in_string = False
                return at

    def _element(self, raw: bytes) -> bytes:
        if self._too_long:
            self._too_long = False
            return TOO_LONG
        raw = raw.strip(_WHITESPACE)
        if not raw:
            raise MalformedArrayError("an element is missing at a comma")
        return self._bounded(raw)

    def _bounded(self, raw: bytes) -> bytes:
        return raw if len(raw) <= self._max_bytes else TOO_LONG

    def _nothing_follows(self) -> list[bytes]:
        if self._data.strip(_WHITESPACE):
            raise MalformedArrayError("something follows the array")
        self._data = b""
        return []


class JsonSplitter:
    """A JSON body as documents: the elements of an array, else the whole body as one.

    Args:
        max_document_bytes: A longer document becomes `TOO_LONG`.
    """

    def __init__(self, max_document_bytes: int) -> None:
        self._max_bytes = max_document_bytes
        self._array: ArraySplitter | None = None
        self._parts: list[bytes] = []
        self._size = 0

    @property
    def is_array(self) -> bool:
        """Whether the body turned out to be an array."""
        return self._array is not None

    @property
    def pending_bytes(self) -> int:
        """Octets held back until more comes."""
        return self._array.pending_bytes if self._array else self._size

    def feed(self, chunk: bytes) -> list[bytes]:
        """The elements that end in the chunk.

        Raises:
            MalformedArrayError: What came is not the beginning of an array.
        """
        if self._array is not None:
            return self._array.feed(chunk)
        if not self._size:
            chunk = chunk.lstrip(_WHITESPACE)
            if chunk[:1] == b"[":
                self._array = ArraySplitter(self._max_bytes)
                return self._array.feed(chunk)
        self._size += len(chunk)
        if self._size <= self._max_bytes:
            self._parts.append(chunk)
        else:
            self._parts.clear()
        return []

    def end(self) -> list[bytes]:
        """The whole body, unless it was an array.

        Raises:
            MalformedArrayError: The array has not ended, or there is no body.
        """
        if self._array is not None:
            return self._array.end()
        if not self._size:
            raise MalformedArrayError("the body is empty")
        return [b"".join(self._parts)] if self._size <= self._max_bytes else [TOO_LONG]


def is_json(raw: bytes) -> bool:
    """Whether the syntax of an element is sound; told by skipping through it."""
    if raw is TOO_LONG:
        return True
    try:
        _RAW.decode(raw)
    except msgspec.DecodeError:
        return False
    except RecursionError:
        return True  # too deep to tell; whoever parses it will refuse it
    return True


def _guesses(data: bytes) -> Iterator[int]:
    """Likely ends of elements, best first."""
    # Most elements begin alike, which tells an outer object from a nested one.
    likely = data.rfind(b"}," + data[:_SIGNATURE_BYTES])
    if likely >= 0:
        yield likely + 1
    found = len(data)
    for _ in range(_GUESSES):
        found = data.rfind(b"},", 0, found)
        if found < 0:
            return
        if found != likely:
            yield found + 1


def _trailing_backslashes(data: bytes) -> int:
    return len(data) - len(data.rstrip(b"\\"))


_QUOTE: Final = ord('"')
_COMMA: Final = ord(",")
_END: Final = ord("]")
