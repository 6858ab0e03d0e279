"""What is wrong with a document, and where: the slow, exact reading of the few suspicious ones.

Every document that this module finds no fault with is taken by Celery's JSON decoder, by BSON and
by MongoDB as it is written.
"""

import json
import math
from typing import Final

from gateway.decoding.json_text import LONG_DIGITS
from penstock.wire.document_rules import (
    BIG_INTEGER,
    MAX_INTEGER,
    MIN_INTEGER,
    NOT_FINITE,
    TOO_DEEP,
    DocumentFault,
    Members,
    Unstorable,
    document_fault,
)


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
    except json.JSONDecodeError as error:
        return DocumentFault("$", f"not valid JSON: {_place(error)}", malformed=True)
    return document_fault(document)


def _place(error: json.JSONDecodeError) -> str:
    """Return what is wrong and where; in a document of one line, where in that line of the body."""
    return str(error) if error.lineno > 1 else f"{error.msg} (column {error.colno})"


def too_big(max_bytes: int) -> DocumentFault:
    """Return the fault of a document over its bound."""
    return DocumentFault("$", f"the document is over {max_bytes} bytes of JSON")


def _integer(digits: str) -> int | Unstorable:
    if len(digits) > LONG_DIGITS + 1:  # and sign; int() refuses thousands of digits
        return Unstorable(BIG_INTEGER)
    number = int(digits)
    return number if MIN_INTEGER <= number <= MAX_INTEGER else Unstorable(BIG_INTEGER)


def _float(digits: str) -> float | Unstorable:
    number = float(digits)
    return number if math.isfinite(number) else Unstorable(NOT_FINITE)


def _constant(_name: str) -> Unstorable:
    return Unstorable(NOT_FINITE)


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=Members,
    parse_int=_integer,
    parse_float=_float,
    parse_constant=_constant,
)
