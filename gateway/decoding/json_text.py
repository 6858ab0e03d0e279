"""What JSON text holds, found without building it, at a few nanoseconds an octet. Pure.

A parser proves the syntax; here it is taken for granted, which makes some questions easy: a quote
without a backslash before it and with a `$` behind it begins a string. Long texts are gone through
in windows, each cut where no string or number is open.
"""

import math
import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Final, Literal

import orjson

from gateway.decoding.brackets import Brackets
from penstock.wire.document_rules import MAX_INTEGER, MIN_INTEGER

WINDOW_BYTES: Final = 64 * 1024
LONG_DIGITS: Final = 19
"""An integer of fewer digits fits in 64 bits; one of 19 may not."""
_DIGITS: Final = bytes.maketrans(b"0123456789E", b"0" * 10 + b"e")
_DIGIT_RUN: Final = b"0" * LONG_DIGITS
# Every pattern below is linear: each begins where the one before it cannot have been, and takes
# what it takes for good (`*+`).
_REST_OF_STRING: Final = rb'[^"\\]*+(?:\\.[^"\\]*+)*+"'
_DOLLAR_KEY: Final = re.compile(
    rb'"(?<!\\")(?:\$|\\u0024)' + _REST_OF_STRING + rb"[ \t\r\n]*+:", re.DOTALL
)
_NUL_STRING: Final = re.compile(rb'\\u0000[^"]*+"[ \t\r\n]*+(:)?')
_COLON: Final = re.compile(rb"[ \t\r\n]*+:?")
_ESCAPED: Final = re.compile(rb"\\u00(?:00|24)")
_BETWEEN: Final = re.compile(rb'[,\[\]{}"]')
_NUMBERS: Final = bytes(
    ord(chr(octet).lower()) if octet in b"0123456789.eE+-" else ord(" ") for octet in range(256)
)
"""Leaves numbers and space."""
_INTEGERS: Final = range(MIN_INTEGER, MAX_INTEGER + 1)
_LONG_FLOAT_BYTES: Final = 200
"""A shorter one is finite, whatever two digits its exponent has."""
_MOST_DIGITS: Final = 4300
"""Python reads no integer of more, unless it is configured to (`sys.set_int_max_str_digits`)."""
_LEAST_INFINITE_DIGITS: Final = 308
"""An integer of so many digits is within a double's range."""
_MARKS: Final = (b",", b"[", b"]", b"{", b"}")

WindowKind = Literal["", "string", "number"]
Kind = Literal["dollar-key", "nul-key", "integer", "number", "deep"]


@dataclass(frozen=True, slots=True)
class Flaw:
    """What a parser lets through."""

    kind: Kind
    at: int
    """Where, in octets; for numbers and depth the beginning of the part that holds it."""


def is_plain(text: bytes) -> bool:
    """Return whether nothing in a text can be a fault that parsers let through, but for its depth.

    True for nearly all text; false says only that one must look closer.
    """
    digits = text.translate(_DIGITS)
    return not (
        b'"$' in text
        or (b"\\u00" in text and _ESCAPED.search(text) is not None)
        or _DIGIT_RUN in digits
        or b"0e000" in digits
        or b"0e+000" in digits
    )


def is_finite(text: bytes) -> bool:
    """Return whether a shallow text of at most `_MOST_DIGITS` octets has no float out of range."""
    try:
        orjson.loads(text)
    except ValueError:  # that, or an integer over a double's range
        return len(text) > _LEAST_INFINITE_DIGITS and not has_flaw(text, len(text), keys=False)
    return True


def is_utf8(text: bytes) -> bool:
    """Return whether it is UTF-8."""
    if text.isascii():
        return True
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def may_be_deeper(text: bytes, levels: int) -> bool:
    """Return whether there are brackets enough for it; a quick look."""
    return text.count(b"[") + text.count(b"{") > levels


def find_flaw(
    text: bytes, levels: int, *, keys: bool, window_bytes: int = WINDOW_BYTES
) -> Generator[None, None, Flaw | None]:
    """Find the first flaw of a value; yields every millisecond or so.

    Args:
        text: JSON that a parser has been through.
        levels: Deepest nesting that is allowed.
        keys: Whether `$` at the beginning of a key and NUL in it are flaws, and integers outside
            64 bits; else only those of thousands of digits.
        window_bytes: How much is looked at between two pauses.
    """
    at = 0
    depth = 0 if may_be_deeper(text, levels) else None
    for window, kind in windows(text, window_bytes):
        flaw, depth = _window_flaw(window, kind, at, levels, depth, keys=keys)
        if flaw is not None:
            return flaw
        at += len(window)
        yield
    return None


def has_flaw(text: bytes, levels: int, *, keys: bool) -> bool:
    """Return whether a text of one window has a flaw; see `find_flaw`."""
    return first_flaw(text, levels, keys=keys) is not None


def first_flaw(text: bytes, levels: int, *, keys: bool) -> Flaw | None:
    """Return the first flaw of a text of one window; see `find_flaw`."""
    depth = 0 if may_be_deeper(text, levels) else None
    return _window_flaw(text, "", 0, levels, depth, keys=keys)[0]


def _window_flaw(
    window: bytes, kind: WindowKind, at: int, levels: int, depth: int | None, *, keys: bool
) -> tuple[Flaw | None, int | None]:
    """Return the flaw of one part of a text, and how deep it ends.

    Args:
        window: The part.
        kind: What it is.
        at: Where it begins in the text.
        levels: Deepest nesting that is allowed.
        depth: How deep it begins; None: it is known that no part is too deep.
        keys: As `find_flaw`.
    """
    if keys and (kind == "string" or b'"$' in window or b"\\u00" in window):
        flaw = _key_flaw(window, at, alone=kind == "string")
        if flaw is not None:
            return flaw, depth
    if kind == "string":
        return None, depth
    if kind == "number" and len(window) > WINDOW_BYTES:
        return _giant_flaw(window, at, keys=keys), depth
    digits = window.translate(_DIGITS)
    numbers = _DIGIT_RUN in digits or b"0e000" in digits or b"0e+000" in digits
    if not numbers and depth is None:
        return None, None
    structure = outline(window)
    if numbers:
        wrong = _number_flaw(structure, keys=keys)
        if wrong is not None:
            return Flaw(wrong, at), depth
    if depth is not None:
        brackets = Brackets(structure, depth)
        if brackets.deeper_than(levels):
            return Flaw("deep", at), depth
        depth = brackets.end
    return None, depth


def _key_flaw(window: bytes, at: int, *, alone: bool) -> Flaw | None:
    if alone:
        if not window.endswith(b":"):
            return None
        if window.startswith((b'"$', b'"\\u0024')):
            return Flaw("dollar-key", at)
        nul = window.replace(b"\\\\", b"__").find(b"\\u0000")
        return None if nul < 0 else Flaw("nul-key", at + nul)
    dollar = _DOLLAR_KEY.search(window)
    if dollar is not None:
        return Flaw("dollar-key", at + dollar.start())
    if b"\\u0000" in window:
        for found in _NUL_STRING.finditer(without_escapes(window)):
            if found[1]:
                return Flaw("nul-key", at + found.start())
    return None


def _number_flaw(structure: bytes, *, keys: bool) -> Kind | None:
    # One split for all: a pattern that finds numbers takes ten times as long.
    numbers = structure.replace(b"true", b"").replace(b"false", b"").translate(_NUMBERS).split()
    if _DIGIT_RUN in structure.translate(_DIGITS):
        for number in numbers:
            if len(number) >= LONG_DIGITS:
                wrong = _long_number_flaw(number, keys=keys)
                if wrong is not None:
                    return wrong
        numbers = [number for number in numbers if b"e" in number]
    try:
        orjson.loads(b"[" + b",".join(numbers) + b"]")
    except ValueError:
        return "number"
    return None


def _long_number_flaw(number: bytes, *, keys: bool) -> Kind | None:
    digits = len(number) - number.startswith(b"-")
    if number[-digits:].isdigit():
        if digits > _MOST_DIGITS:
            return "integer" if keys else "number"
        if keys and (digits > LONG_DIGITS or int(number) not in _INTEGERS):
            return "integer"
    elif digits >= _LONG_FLOAT_BYTES and math.isinf(float(number)):
        return "number"
    return None


def _giant_flaw(window: bytes, at: int, *, keys: bool) -> Flaw | None:
    """Return the flaw of a number, or of white space, that is longer than a window."""
    number = window[window.rfind(b'"') + 1 :].strip(b" \t\r\n:-")
    if number.isdigit():  # longer than a window, so longer than any bound
        return Flaw("integer" if keys else "number", at)
    return Flaw("number", at) if number and math.isinf(float(number)) else None


def outline(text: bytes) -> bytes:
    """Return all that stands outside of strings, with one quote in the place of each."""
    if b"\\" in text:
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b'"'.join(text.split(b'"')[::2])


def windows(text: bytes, window_bytes: int) -> Iterator[tuple[bytes, WindowKind]]:
    """Consecutive parts of a value's text, cut where no string and no number is open.

    Yields:
        A part and what it is. Longer than a window is only a string by itself (with the colon
        behind it, when it is a key), or a number or white space (with the key before it).
    """
    at = 0
    while len(text) - at > window_bytes:
        part = without_escapes(whole_escapes(text[at : at + window_bytes]))
        last = part.rfind(b'"')
        if part.count(b'"') % 2:
            if not last:
                end = _end_of_string(text, at)
                yield text[at:end], "string"
                at = end
                continue
            cut = last  # in front of the string that is open
        else:
            cut = max(part.rfind(mark, last + 1) for mark in _MARKS) + 1
            if not cut:  # nothing but space or a number behind the last string
                cut = part.rfind(b'"', 0, last) if last > 0 else 0
            if cut <= 0:
                found = _BETWEEN.search(text, at + len(part))
                cut = (found.start() if found else len(text)) - at
        yield text[at : at + cut], "number" if cut > window_bytes else ""
        at += cut
    yield text[at:], ""


def without_escapes(part: bytes) -> bytes:
    """Return text of the same length without backslashes and quotes that are escaped.

    Args:
        part: Begins between two escapes.
    """
    if b"\\" not in part:
        return part
    return part.replace(b"\\\\", b"__").replace(b'\\"', b"__")


def whole_escapes(part: bytes) -> bytes:
    """Return the part without its last backslash, when that begins an escape."""
    slashes = len(part) - len(part.rstrip(b"\\"))
    return part[:-1] if slashes % 2 else part


def _end_of_string(text: bytes, at: int) -> int:
    """Just behind the string that begins at a position, and behind the colon that may follow it."""
    at += 1
    while True:
        part = whole_escapes(text[at : at + WINDOW_BYTES])
        quote = without_escapes(part).find(b'"')
        if quote >= 0 or not part:
            break
        at += len(part)
    end = at + quote + 1
    found = _COLON.match(text, end)
    return found.end() if found is not None and b":" in found[0] else end
