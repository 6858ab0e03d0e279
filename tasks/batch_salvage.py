"""A batch of which a document cannot be decoded: the others are stored, and that one is named.

The gateway publishes no such document. Another program may: an integer of more digits than Python
reads, nesting beyond its recursion, broken syntax between two commas.
"""

import json
import re
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

from penstock.worker.messages.json_values import decode

UNREADABLE = "x-penstock-unreadable"
"""First member of the list `[it, why, the JSON of the _id or None]` that takes the place of a
document; a list, since that is never taken for a document, and survives a retry."""

MAX_REASON_CHARS = 200

_TOKEN = re.compile(r'"(?>[^"\\]*(?:\\.[^"\\]*)*)(?:"|\\?\Z)|[\[\]{},]', re.DOTALL)
"""A string that does not end goes on to the end of the text, once: a search that began again at
each of its escaped quotes would hold the worker for hours."""
_DOCUMENTS = (0, 1)
"""Where they are in the body: the second of the arguments, which are first."""
_ID_FIRST = re.compile(
    r'\s*\{\s*"_id"\s*:\s*("[^"\\]*(?:\\.[^"\\]*)*"|-?\d{1,19}(?=\s*[,}]))', re.DOTALL
)


class _Element(NamedTuple):
    place: tuple[int, ...]
    start: int
    end: int


def salvage(body: Any, meaning: object) -> Any:
    """Decode the body of a batch with each document that cannot be decoded replaced.

    Args:
        body: `[[collection, [document, …]], {…}, {…}]`, as
            `penstock.worker.messages.json_values.decode` takes it.
        meaning: What its publisher said of it.

    Raises:
        ValueError, RecursionError: What is wrong lies outside of the documents.
    """
    text = body if isinstance(body, str) else bytes(body).decode(errors="backslashreplace")
    parts: list[str] = []
    copied = 0
    for element in _elements(text):
        document = text[element.start : element.end]
        if element.place[:-1] != _DOCUMENTS or not document.strip():
            continue
        try:
            decode(document, meaning)
        except (ValueError, RecursionError) as error:
            reason = (str(error) or type(error).__name__)[:MAX_REASON_CHARS]
            stand_in = [UNREADABLE, reason, _written_id(document)]
            parts += (text[copied : element.start], json.dumps(stand_in))
            copied = element.end
    return decode("".join((*parts, text[copied:])), meaning)


def _written_id(document: str) -> str | None:
    """Return the JSON of its `_id`, if that can be read, or stands first."""
    try:
        found = json.loads(document, parse_int=_readable)
    except (ValueError, RecursionError):
        first = _ID_FIRST.match(document)
        return first[1] if first else None
    return json.dumps(found["_id"]) if isinstance(found, dict) and "_id" in found else None


def _readable(digits: str) -> int | str:
    return int(digits) if len(digits) < sys.int_info.default_max_str_digits else digits


def _elements(text: str) -> Iterator[_Element]:
    """Each element of the arrays and objects that are not inside of a document, without recursion.

    Raises:
        ValueError: Brackets do not match.
    """
    place: list[int] = []
    begins: list[int] = []
    for token in _TOKEN.finditer(text):
        at, sign = token.start(), token[0]
        if sign in "[{":
            place.append(0)
            begins.append(at + 1)
        elif sign in "]},":
            if not begins:
                raise ValueError("a bracket closes that never opened")
            if len(place) <= len(_DOCUMENTS) + 1:
                yield _Element(tuple(place), begins[-1], at)
            if sign == ",":
                place[-1] += 1
                begins[-1] = at + 1
            else:
                place.pop()
                begins.pop()
    if begins:
        raise ValueError("a bracket opens that never closes")
