"""A streamed JSON array, cut into the raw bytes of its elements without parsing it whole. Pure.

    start ──[──► first ──element──► next ──,──► element ─┐
                   │                 ▲  │ ]              │
                   └──]──► after ◄───┼──┘                │
                                     └───────────────────┘

An array is of use only once all of it has come, so it is cut in pieces of 64 KiB. Where the last
whole element of a piece ends is guessed first: behind the last `},`. The guess is right if and only
if everything before it reads as complete elements, which msgspec tells at 0.1 µs an element. Where
guesses fail one pattern cuts off elements that are not nested deeply, one by one; the others, and
those that go beyond the piece, are walked over.
"""

import re
from collections.abc import Iterator
from typing import Final

import msgspec

from gateway.decoding.json_walk import BracketError, Walk
from gateway.decoding.splitter import TOO_LONG, WHITESPACE, MalformedBodyError

_ELEMENTS: Final = msgspec.json.Decoder(list[msgspec.Raw])
_RAW: Final = msgspec.json.Decoder(msgspec.Raw)
_GUESSES: Final = 2
_PIECE_BYTES: Final = 64 * 1024
_ELEMENTS_AT_ONCE: Final = 512
_SIGNATURE_BYTES: Final = 12
_LEAST_REACH: Final = 64
_MOST_REACH: Final = 4096
_SPACE: Final = re.compile(rb"[ \t\r\n]*+")
_STRING: Final = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_STRAY_ESCAPE: Final = rb'\\["\\]?+'
"""Outside of a string, where there is none in JSON; the walk takes it alike."""


def _nested(levels: int) -> bytes:
    """Return a pattern of a value in brackets, with so many levels of brackets in it."""
    inner = b"|" + _nested(levels - 1) if levels else b""
    plain = rb'[\[{](?:[^"\[\]{}\\]++|'
    return plain + _STRING + inner + b"|" + _STRAY_ESCAPE + rb")*+[\]}]"


_ELEMENT: Final = re.compile(
    rb'((?:[^"\[\]{},\\]++|'
    + (_STRING + b"|" + _nested(16) + b"|" + _STRAY_ESCAPE)
    + rb")*+)([,\]])",
    re.DOTALL,
)


class ArraySplitter:
    """Cuts chunks of a JSON array into elements, which may still be malformed inside.

    Args:
        max_element_bytes: A longer element becomes `TOO_LONG`.
        piece_bytes: How much is gathered before it is cut.
    """

    def __init__(self, max_element_bytes: int, piece_bytes: int = _PIECE_BYTES) -> None:
        self._max_bytes = max_element_bytes
        self._piece_bytes = piece_bytes
        self._data = bytearray()
        self._state = "start"
        self._reach = _MOST_REACH
        """How far the pattern may look: it fails over and over where quotes do not match."""
        self._walk: Walk | None = None
        self._walked = 0
        self._too_long = False

    def feed(self, chunk: bytes) -> Iterator[list[bytes]]:
        """Yield the elements that end in what has come, some hundred at a time.

        Raises:
            MalformedBodyError: What came is not the beginning of an array.
        """
        self._data += chunk
        if len(self._data) - self._walked >= self._piece_bytes:
            yield from self._cut()

    @property
    def pending_bytes(self) -> int:
        """Octets held back until more comes."""
        return len(self._data)

    @property
    def one_value(self) -> bool:
        """Always."""
        return True

    def path(self, number: int) -> str:
        """Return where an element is: `$[2]` is the third."""
        return f"$[{number - 1}]"

    def end(self) -> Iterator[list[bytes]]:
        """Yield the last elements: the body has ended.

        Raises:
            MalformedBodyError: The array has not.
        """
        yield from self._cut()
        if self._state != "after":
            empty = self._state == "start"
            raise MalformedBodyError(f"the body {'is empty' if empty else 'ends within the array'}")

    def _cut(self) -> Iterator[list[bytes]]:  # noqa: C901, PLR0912  # one loop, its states local
        data = bytes(self._data)
        self._data.clear()
        at = self._begin(data) if self._state == "start" else 0
        batch: list[bytes] = []
        no_guess_before = 0
        while self._state != "after":
            if self._walk is None and at >= no_guess_before:
                found = self._guess(data, at)
                if found is not None:
                    raws, at = found
                    if batch:
                        yield batch
                        batch = []
                    for start in range(0, len(raws), _ELEMENTS_AT_ONCE):
                        some = map(bytes, raws[start : start + _ELEMENTS_AT_ONCE])
                        yield [self._bounded(raw) for raw in some]
                    continue
                no_guess_before = at + _PIECE_BYTES
            if self._walk is None:
                elements, at = self._one_by_one(data, at)
                batch += elements
            if self._walk is not None:
                element, at = self._walk_on(self._walk, data, at)
                if element is None:
                    break
                batch += element
            if len(batch) >= _ELEMENTS_AT_ONCE:
                yield batch
                batch = []
            if at >= len(data):
                break
        if batch:
            yield batch
        if self._state == "after":
            if data[at:].strip(WHITESPACE):
                raise MalformedBodyError("something follows the array")
        elif self._state != "start":
            self._data += data[at:]

    def _begin(self, data: bytes) -> int:
        """Return where the first element may begin."""
        found = _SPACE.match(data)
        at = found.end() if found else 0
        if at == len(data):
            return at
        if data[at] != _OPEN:
            raise MalformedBodyError("it does not start with '['")
        self._state = "first"
        return at + 1

    def _guess(self, data: bytes, at: int) -> tuple[list[msgspec.Raw], int] | None:
        """Elements up to a comma behind a brace, when one of the last few is between elements."""
        space = _SPACE.match(data, at)
        if space is None or data[space.end() : space.end() + 1] != b"{":
            return None
        piece = data[at : at + _PIECE_BYTES]
        for cut in _guesses(piece, space.end() - at):
            try:
                raws = _ELEMENTS.decode(b"[" + piece[:cut] + b"]")
            except (msgspec.DecodeError, RecursionError):
                continue
            self._state = "next"
            return raws, at + cut + 1
        return None

    def _one_by_one(self, data: bytes, at: int) -> tuple[list[bytes], int]:
        """Return a few elements, up to one that must be walked over."""
        elements: list[bytes] = []
        while len(elements) < _ELEMENTS_AT_ONCE:
            found = _ELEMENT.match(data, at, at + self._reach)
            if found is None:
                self._reach = _LEAST_REACH
                self._walk, self._walked = Walk(), 0
                break
            elements += self._element(found[1], last=found[2] == b"]")
            at = found.end()
            self._reach = min(self._reach + _LEAST_REACH, _MOST_REACH)
            if self._state == "after":
                break
        return elements, at

    def _walk_on(self, walk: Walk, data: bytes, at: int) -> tuple[list[bytes] | None, int]:
        """Return the element, None if it has not ended, and where to go on."""
        try:
            end, ended = walk.over(data, at + self._walked)
        except BracketError as error:
            raise MalformedBodyError(str(error)) from None
        if not ended:
            self._walked = end - at
            if self._walked > self._max_bytes:
                self._too_long = True
            if self._too_long:  # only what was not walked over is kept
                at, self._walked = end, 0
            return None, at
        self._walk, self._walked = None, 0
        raw = TOO_LONG if self._too_long else data[at:end]
        self._too_long = False
        return self._element(raw, last=data[end] == _END), end + 1

    def _element(self, raw: bytes, *, last: bool) -> list[bytes]:
        """Return one element, or none in an empty array."""
        if raw is not TOO_LONG:
            raw = raw.strip(WHITESPACE)
        if not raw and not (last and self._state == "first"):
            raise MalformedBodyError("an element is missing at a comma")
        self._state = "after" if last else "next"
        return [self._bounded(raw)] if raw else []

    def _bounded(self, raw: bytes) -> bytes:
        return raw if len(raw) <= self._max_bytes else TOO_LONG


def is_json(raw: bytes) -> bool:
    """Return whether the syntax of an element is sound, by skipping through it."""
    if raw is TOO_LONG:
        return True
    try:
        _RAW.decode(raw)
    except msgspec.DecodeError:
        return False
    except RecursionError:
        return True  # too deep to skip through: its parser will refuse it
    return True


def _guesses(piece: bytes, start: int) -> Iterator[int]:
    """Likely ends of elements, best first."""
    # Most elements begin alike, which tells an outer object from a nested one.
    likely = piece.rfind(b"}," + piece[start : start + _SIGNATURE_BYTES])
    if likely >= 0:
        yield likely + 1
    found = len(piece)
    for _ in range(_GUESSES):
        found = piece.rfind(b"},", 0, found)
        if found < 0:
            return
        if found != likely:
            yield found + 1


_OPEN: Final = ord("[")
_END: Final = ord("]")
