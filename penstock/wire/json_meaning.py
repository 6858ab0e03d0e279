"""What the JSON of a message or of a stored result means, where kombu's decoder would guess.

kombu writes a datetime as the object `{"__type__": "datetime", "__value__": "…"}`, an envelope, and
takes every object of that form for one (`kombu.utils.json.object_hook`). A client may send such an
object as data. Who writes JSON therefore says what its envelopes are, in the message's header
`x-penstock-json`, or in the member `json` of a result's record:

    (absent)        Celery's: each is a value                a stock client, or a task without data
                                                             of that form
    data            each is the object that it is            the gateway
    mixed <mark>    one with the member <mark> is the        a task that passes on both
                    object that it is without it,
                    each other one is a value

A mark is a key that occurs nowhere else in the JSON, chosen like a MIME boundary. A stock worker
ignores the header and reads a marked object as a dict with one key more, and does not fail.
"""

import re
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Final

MEMBER: Final = "json"
"""Of a record in Redis."""
DATA: Final = "data"
"""Every object is what it is."""

TYPE: Final = "__type__"
VALUE: Final = "__value__"
ENVELOPE: Final = frozenset((TYPE, VALUE))
"""The keys of an envelope, all of them."""

TYPE_KEY: Final = f'"{TYPE}"'
"""JSON without this text, and without escapes in its keys, has no envelope."""

_MIXED: Final = re.compile(r"mixed (__data(?:_[0-9a-f]{16})?__)")


def mixed(mark: str) -> str:
    """Say that data bears this mark."""
    return f"mixed {mark}"


def mark_of(meaning: object) -> str | None:
    """Return the mark that data bears; None where none does.

    Args:
        meaning: A header or member, from anyone.
    """
    found = _MIXED.fullmatch(meaning) if isinstance(meaning, str) else None
    return found[1] if found else None


def new_mark(text: str) -> str:
    """Choose a key that the text does not contain.

    Args:
        text: JSON.
    """
    mark = "__data__"
    while mark in text:
        mark = f"__data_{secrets.token_hex(8)}__"
    return mark


def is_envelope(found: Mapping[str, Any]) -> bool:
    """Whether an object has the form of an envelope, whatever it is."""
    return found.keys() == ENVELOPE


def marking(mark: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Make an `object_hook` that turns JSON of pure data into mixed JSON.

    A value is to be there as `{<mark>: [type, value]}`, and comes out as its envelope; an object
    that only looks like one comes out with the mark.

    Args:
        mark: From `new_mark`.
    """

    def hook(found: dict[str, Any]) -> dict[str, Any]:
        if mark in found:
            type_, value = found[mark]
            return {TYPE: type_, VALUE: value}
        if is_envelope(found):
            found[mark] = None
        return found

    return hook


def without_marks(raw: bytes, meaning: str | None) -> bytes:
    """Take the marks out of compact JSON, so that data is as it was and a value is its envelope.

    A mark stands last in its object, and is nowhere else: its quotes cannot be inside of a text.

    Args:
        raw: JSON without white space between its tokens.
        meaning: What was said of it.
    """
    mark = mark_of(meaning)
    return raw if mark is None else raw.replace(b',"%b":null' % mark.encode(), b"")
