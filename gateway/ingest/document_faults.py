"""What is wrong with a document, and where: the slow, exact reading of the few suspicious ones.

Every document that this module finds no fault with is taken by Celery's JSON decoder, by BSON and
by MongoDB as it is written.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

MAX_DEPTH: Final = 100
"""Deepest nesting of a document; its own braces are level 1."""
BIG_INTEGER_DIGITS: Final = 19
"""An integer of fewer digits fits in 64 bits; one of 19 may not."""
MIN_INTEGER: Final = -(1 << 63)
MAX_INTEGER: Final = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class DocumentFault:
    """Why a document may not be stored."""

    at: str
    """Path from the document's root: `$.a[0]`."""
    detail: str
    malformed: bool = False
    """It is not JSON at all."""


class _Object(list[tuple[str, Any]]):
    """An object with every member, also those that a later one of the same key hides."""


@dataclass(frozen=True, slots=True)
class _Unstorable:
    """A number that BSON cannot hold."""

    detail: str


BIG_INTEGER: Final = "the integer is outside 64 bits"
NOT_FINITE: Final = "NaN and infinite numbers cannot be stored"
TOO_DEEP: Final = f"nesting is deeper than {MAX_DEPTH} levels"
LONE_SURROGATE: Final = "the text holds half of a surrogate pair"
DOLLAR_KEY: Final = "the key starts with '$'"
NUL_KEY: Final = "the key holds a NUL character"


def find_fault(raw: bytes, max_bytes: int) -> DocumentFault | None:
    """Find the first fault of a document; None when it may be stored.

    Args:
        raw: Its JSON.
        max_bytes: Bound of its size.
    """
    if len(raw) > max_bytes:
        return too_big(max_bytes)
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        return DocumentFault("$", f"not valid UTF-8 at byte {error.start}", malformed=True)
    try:
        document = _DECODER.decode(text)
    except RecursionError:
        return DocumentFault("$", TOO_DEEP)
    except ValueError as error:
        return DocumentFault("$", f"not valid JSON: {error}", malformed=True)
    if not isinstance(document, _Object):
        return DocumentFault("$", "a document is a JSON object")
    return next(_faults(document, "$", 1), None)


def too_big(max_bytes: int) -> DocumentFault:
    """The fault of a document over its bound."""
    return DocumentFault("$", f"the document is over {max_bytes} bytes of JSON")


def _faults(value: Any, at: str, depth: int) -> Iterator[DocumentFault]:
    if isinstance(value, _Object):
        if depth > MAX_DEPTH:
            yield DocumentFault(at, TOO_DEEP)
            return
        for key, member in value:
            where = f"{at}.{_printable(key)}"
            if key.startswith("$"):
                yield DocumentFault(where, DOLLAR_KEY)
            if "\x00" in key:
                yield DocumentFault(where, NUL_KEY)
            if _has_surrogate(key):
                yield DocumentFault(where, LONE_SURROGATE)
            yield from _faults(member, where, depth + 1)
    elif isinstance(value, list):
        if depth > MAX_DEPTH:
            yield DocumentFault(at, TOO_DEEP)
            return
        for index, member in enumerate(value):
            yield from _faults(member, f"{at}[{index}]", depth + 1)
    elif isinstance(value, str):
        if _has_surrogate(value):
            yield DocumentFault(at, LONE_SURROGATE)
    elif isinstance(value, _Unstorable):
        yield DocumentFault(at, value.detail)


def _has_surrogate(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _printable(key: str) -> str:
    return key[:100].encode("utf-8", "backslashreplace").decode().replace("\x00", "\\u0000")


def _integer(digits: str) -> int | _Unstorable:
    if len(digits) > BIG_INTEGER_DIGITS + 1:  # and sign; int() refuses thousands of digits
        return _Unstorable(BIG_INTEGER)
    number = int(digits)
    return number if MIN_INTEGER <= number <= MAX_INTEGER else _Unstorable(BIG_INTEGER)


def _float(digits: str) -> float | _Unstorable:
    number = float(digits)
    return number if math.isfinite(number) else _Unstorable(NOT_FINITE)


def _constant(_name: str) -> _Unstorable:
    return _Unstorable(NOT_FINITE)


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_Object,
    parse_int=_integer,
    parse_float=_float,
    parse_constant=_constant,
)
