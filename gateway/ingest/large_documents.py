"""Large documents: checked token by token, so that no other request waits for one of them. Pure.

Parsing 4 MiB of JSON holds the event loop for 30–60 ms. Skipping through it, which allocates
nothing, takes 5 ms and proves the syntax; what is left to look at are keys, numbers and escapes.
"""

import math
import re
from collections.abc import Generator
from typing import Final

import msgspec
import orjson

from gateway.ingest.document_faults import (
    BIG_INTEGER,
    BIG_INTEGER_DIGITS,
    DOLLAR_KEY,
    LONE_SURROGATE,
    MAX_DEPTH,
    MAX_INTEGER,
    MIN_INTEGER,
    NOT_FINITE,
    NUL_KEY,
    TOO_DEEP,
    DocumentFault,
    too_big,
)

LARGE_BYTES: Final = 256 * 1024
"""Documents over this size are checked here."""
_TOKENS_AT_ONCE: Final = 8192
_TOKEN: Final = re.compile(
    rb'"([^"\\]*(?:\\.[^"\\]*)*)"([ \t\r\n]*:)?|[{}\[\]]|-?[0-9][0-9.eE+-]*', re.DOTALL
)
_NOT_FOR_BSON: Final = re.compile(rb"NaN|Infinity|\\u[dD][89a-fA-F]")
_QUOTE: Final = ord('"')


class _Object(msgspec.Struct):
    """An object whose every member is skipped."""


_SKIPPER: Final = msgspec.json.Decoder(_Object)


def find_large_fault(raw: bytes, max_bytes: int) -> Generator[None, None, DocumentFault | None]:
    """Find a fault of a large document; yields every few milliseconds.

    Args:
        raw: Its JSON.
        max_bytes: Bound of its size.
    """
    if len(raw) > max_bytes:
        return too_big(max_bytes)
    try:
        _SKIPPER.decode(raw)
    except msgspec.ValidationError:
        return DocumentFault("$", "a document is a JSON object")
    except msgspec.DecodeError as error:
        malformed = _NOT_FOR_BSON.search(raw) is None
        return DocumentFault("$", f"not valid JSON: {error}", malformed=malformed)
    except RecursionError:
        return DocumentFault("$", TOO_DEEP)
    yield
    if not raw.isascii():
        try:
            raw.decode()
        except UnicodeDecodeError as error:
            return DocumentFault("$", f"not valid UTF-8 at byte {error.start}", malformed=True)
        yield
    depth = 0
    for count, token in enumerate(_TOKEN.finditer(raw)):
        if count % _TOKENS_AT_ONCE == 0:
            yield
        text = token[0]
        first = text[0]
        if first == _QUOTE:
            detail = _text_fault(token[1], is_key=token[2] is not None)
        elif first in b"{[":
            depth += 1
            detail = TOO_DEEP if depth > MAX_DEPTH else None
        elif first in b"}]":
            depth -= 1
            continue
        else:
            detail = _number_fault(text)
        if detail is not None:
            return DocumentFault("$", f"{detail} (at byte {token.start()})")
    return None


def _text_fault(inside: bytes, *, is_key: bool) -> str | None:
    if b"\\" in inside:
        try:
            text = orjson.loads(b'"%b"' % inside)
        except ValueError:
            return LONE_SURROGATE
        if is_key and "\x00" in text:
            return NUL_KEY
        return DOLLAR_KEY if is_key and text.startswith("$") else None
    return DOLLAR_KEY if is_key and inside.startswith(b"$") else None


def _number_fault(digits: bytes) -> str | None:
    if len(digits) < BIG_INTEGER_DIGITS and b"e" not in digits.lower():
        return None
    if digits.isdigit() or digits[1:].isdigit():
        fits = len(digits) <= BIG_INTEGER_DIGITS + 1 and MIN_INTEGER <= int(digits) <= MAX_INTEGER
        return None if fits else BIG_INTEGER
    return None if math.isfinite(float(digits)) else NOT_FINITE
