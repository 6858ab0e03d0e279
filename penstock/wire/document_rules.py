"""Which documents may be stored, and where: the rules of the gateway and of the workers.

The gateway reads documents as JSON, a worker gets them as values from whoever published the batch.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

COLLECTION_PATTERN = r"^[A-Za-z][A-Za-z0-9_-]{0,63}$"
"""Names of collections, unless the configuration has another pattern (`COLLECTION_PATTERN`)."""
MAX_COLLECTION_BYTES = 200
"""UTF-8 size of a collection's name; with the database's it must fit a namespace of 255 bytes."""
MAX_DOCUMENT_BYTES = 4 * 1024 * 1024
"""JSON size of one document."""
MAX_DEPTH = 100
"""Deepest nesting of a document; its own braces are level 1."""
MIN_INTEGER = -(1 << 63)
MAX_INTEGER = (1 << 63) - 1

BIG_INTEGER = "the integer is outside 64 bits"
NOT_FINITE = "NaN and infinite numbers cannot be stored"
TOO_DEEP = f"nesting is deeper than {MAX_DEPTH} levels"
LONE_SURROGATE = "the text holds half of a surrogate pair"
DOLLAR_KEY = "the key starts with '$'"
NUL_KEY = "the key holds a NUL character"
NO_OBJECT = "a document is a JSON object"
BAD_ID = "_id is null or an array; leave it out or make it a string"
"""MongoDB takes no array, and null is one value: a second such document is lost."""


@dataclass(frozen=True, slots=True)
class DocumentFault:
    """Why a document may not be stored."""

    at: str
    """Path from the document's root: `$.a[0]`."""
    detail: str
    malformed: bool = False
    """It is not JSON at all."""


class Members(list[tuple[str, Any]]):
    """An object with every member, also those that a later one of the same key hides."""


@dataclass(frozen=True, slots=True)
class Unstorable:
    """A number that BSON cannot hold."""

    detail: str


def collection_fault(name: object, pattern: re.Pattern[str]) -> str | None:
    """Return why documents may not go to a collection; None when they may.

    Args:
        name: As it was sent.
        pattern: What names look like here.
    """
    if not isinstance(name, str):
        return "the name of a collection is a text"
    if is_system_collection(name):
        return "collections of MongoDB's own are not for documents"
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return LONE_SURROGATE
    if not pattern.fullmatch(name) or size > MAX_COLLECTION_BYTES:
        return f"the name does not match {pattern.pattern}"
    return None


def is_system_collection(name: str) -> bool:
    """Return whether MongoDB gives the collection a meaning: code, users, indexes."""
    return name.startswith("system.")


def document_fault(document: object) -> DocumentFault | None:
    """Return the first fault of a document that was decoded before; None when it may be stored."""
    if not isinstance(document, dict | Members):
        return DocumentFault("$", NO_OBJECT)
    if isinstance(document, dict) and "_id" in document and is_bad_id(document["_id"]):
        return DocumentFault("$._id", BAD_ID)
    return next(_faults(document, "$", 1), None)


def is_bad_id(value: object) -> bool:
    """Return whether a document may not have this `_id`."""
    return value is None or isinstance(value, list | tuple)


def _faults(value: Any, at: str, depth: int) -> Iterator[DocumentFault]:
    if isinstance(value, str):
        if _has_surrogate(value):
            yield DocumentFault(at, LONE_SURROGATE)
    elif isinstance(value, int | float):
        if detail := _number_fault(value):
            yield DocumentFault(at, detail)
    elif isinstance(value, Unstorable):
        yield DocumentFault(at, value.detail)
    elif isinstance(value, dict | list | tuple):
        if depth > MAX_DEPTH:
            yield DocumentFault(at, TOO_DEEP)
        elif isinstance(value, dict | Members):
            yield from _member_faults(value, at, depth)
        else:
            for index, member in enumerate(value):
                yield from _faults(member, f"{at}[{index}]", depth + 1)


def _number_fault(value: float) -> str | None:
    if isinstance(value, int):
        return None if MIN_INTEGER <= value <= MAX_INTEGER else BIG_INTEGER
    return None if math.isfinite(value) else NOT_FINITE


def _member_faults(value: dict[Any, Any] | Members, at: str, depth: int) -> Iterator[DocumentFault]:
    for key, member in value.items() if isinstance(value, dict) else value:
        where = f"{at}.{_printable(key)}"
        text = str(key)
        if text.startswith("$"):
            yield DocumentFault(where, DOLLAR_KEY)
        if "\x00" in text:
            yield DocumentFault(where, NUL_KEY)
        if _has_surrogate(text):
            yield DocumentFault(where, LONE_SURROGATE)
        yield from _faults(member, where, depth + 1)


def _has_surrogate(text: str) -> bool:
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _printable(key: object) -> str:
    return str(key)[:100].encode("utf-8", "backslashreplace").decode().replace("\x00", "\\u0000")
