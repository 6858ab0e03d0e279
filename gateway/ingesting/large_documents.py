"""Large documents: checked step by step, so that no other request waits for one of them. Pure.

Parsing 4 MiB of JSON holds the event loop for 30–60 ms. Skipping through it, which allocates
nothing, takes 5 ms and proves the syntax; the rest is looked for in the text.
"""

import re
from collections.abc import Generator
from typing import Final

import msgspec

from gateway.decoding import json_text
from gateway.ingesting.document_faults import too_big
from penstock.wire.document_rules import (
    BIG_INTEGER,
    DOLLAR_KEY,
    MAX_DEPTH,
    NOT_FINITE,
    NUL_KEY,
    TOO_DEEP,
    DocumentFault,
)

_PIECE_BYTES: Final = 256 * 1024
_OVERLAP_BYTES: Final = 32
"""Longer than any trace of a fault."""
_NOT_FOR_BSON: Final = re.compile(rb"NaN|Infinity|\\u[dD][89a-fA-F]")
_DETAILS: Final = {
    "dollar-key": DOLLAR_KEY,
    "nul-key": NUL_KEY,
    "integer": BIG_INTEGER,
    "number": NOT_FINITE,
    "deep": TOO_DEEP,
}


class _Object(msgspec.Struct):
    """An object whose every member is skipped."""


_SKIPPER: Final = msgspec.json.Decoder(_Object)


def find_large_fault(raw: bytes, max_bytes: int) -> Generator[None, None, DocumentFault | None]:
    """Find a fault of a document, not where exactly; yields every few milliseconds.

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
    if not json_text.is_utf8(raw):
        return DocumentFault("$", "not valid UTF-8", malformed=True)
    yield
    suspicious = json_text.may_be_deeper(raw, MAX_DEPTH)
    for start in range(0, len(raw), _PIECE_BYTES):
        if suspicious:
            break
        yield
        suspicious = not json_text.is_plain(raw[start : start + _PIECE_BYTES + _OVERLAP_BYTES])
    if not suspicious:
        return None
    flaw = yield from json_text.find_flaw(raw, MAX_DEPTH, keys=True)
    return None if flaw is None else fault_of(flaw)


def fault_of(flaw: json_text.Flaw) -> DocumentFault:
    """Return a flaw of a document's text as a fault of the document, with its octet."""
    where = "at" if flaw.kind.endswith("key") else "behind"
    return DocumentFault("$", f"{_DETAILS[flaw.kind]} ({where} byte {flaw.at})")
