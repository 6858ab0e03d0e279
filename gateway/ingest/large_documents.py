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
_TOKENS_AT_ONCE: Final = 2048
_ESCAPE: Final = rb'(?:\\.[^"\\]{0,64})'
_TOKEN: Final = re.compile(
    rb'"([^"\\]{0,256}' + _ESCAPE + rb'{0,64})"([ \t\r\n]*:)?|["{}\[\]]|-?[0-9][0-9.eE+-]*',
    re.DOTALL,
)
"""A quote by itself begins a longer string: a pattern walks it byte by byte, `find` in a leap."""
_SOME_ESCAPES: Final = re.compile(_ESCAPE + rb"{1,64}", re.DOTALL)
_ESCAPES_AT_ONCE: Final = 128
"""Times 64, each with at most 64 bytes behind it."""
_COLON: Final = re.compile(rb"[ \t\r\n]*:")
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
    depth = count = 0
    tokens = _TOKEN.finditer(raw)
    while (token := next(tokens, None)) is not None:
        if count % _TOKENS_AT_ONCE == 0:
            yield
        count += 1
        text = token[0]
        first = text[0]
        if first == _QUOTE:
            inside, is_key = token[1], token[2] is not None
            if len(text) == 1:
                end = yield from _end_of_text(raw, token.end())
                inside, is_key = raw[token.end() : end], _COLON.match(raw, end + 1) is not None
                tokens = _TOKEN.finditer(raw, end + 1)
            detail = _text_fault(inside, is_key=is_key)
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


def _end_of_text(raw: bytes, start: int) -> Generator[None, None, int]:
    """Find the quote that ends the string whose first byte is at `start`; there is one."""
    at, quote, count = start, -1, 0
    while True:
        if quote < at:
            quote = raw.find(b'"', at)
        escape = raw.find(b"\\", at, quote)
        if escape < 0:
            return quote
        at = next(_SOME_ESCAPES.finditer(raw, escape)).end()
        count += 1
        if count % _ESCAPES_AT_ONCE == 0:
            yield


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
