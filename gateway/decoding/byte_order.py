"""The first octets of a body: a byte order mark is skipped, other text than UTF-8 named. Pure."""

import codecs
from typing import Final

LONGEST: Final = 4
"""Octets of a body after which it is known what it is."""
_OTHERS: Final = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
_MARKS: Final = (codecs.BOM_UTF8, *(mark for mark, _ in _OTHERS))


class NotUtf8Error(Exception):
    """The body is in another encoding; the text says which."""


def is_plain(head: bytes) -> bool:
    """Return whether a body begins as nearly all do, so that there is nothing to skip.

    Args:
        head: Its first octets, or all of it.
    """
    return b" " <= head[:1] <= b"\x7f" and head[1:2] != b"\x00"


def undecided(head: bytes) -> bool:
    """Return whether so few octets may be the beginning of a mark."""
    return len(head) < LONGEST and any(mark.startswith(head) for mark in _MARKS)


def skip_mark(body: bytes) -> bytes:
    """Return the body without its byte order mark.

    Args:
        body: Its beginning, or all of it.

    Raises:
        NotUtf8Error: It is UTF-16 or UTF-32, by its mark or by its zeros.
    """
    if body.startswith(codecs.BOM_UTF8):
        return body[len(codecs.BOM_UTF8) :]
    for mark, name in _OTHERS:
        if body.startswith(mark):
            raise NotUtf8Error(f"it is {name}; JSON is sent as UTF-8 (RFC 8259, section 8.1)")
    if b"\x00" in body[:2]:  # no text in UTF-8 begins so, and the first character is ASCII
        raise NotUtf8Error("it looks like UTF-16 or UTF-32; JSON is sent as UTF-8")
    return body
