"""Where a JSON value ends that comes in pieces: brackets and strings counted, many at a time. Pure.

For values that nothing quicker can cut: long, deep or broken ones. Pieces are looked at in windows
that double: most of a long value lies in windows that it cannot end in, which is seen at once.
"""

import itertools
import re
from typing import Final

from gateway.decoding.brackets import Brackets
from gateway.decoding.json_text import whole_escapes, without_escapes

_FIRST_WINDOW: Final = 64
_LAST_WINDOW: Final = 16 * 1024
_ANY_MARK: Final = re.compile(rb"[,\[\]{}]")


class BracketError(Exception):
    """A bracket closes nothing."""


class Walk:
    """Walks over one element of an array, to the comma or bracket behind it."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = False
        self._closed = False
        self._window = _FIRST_WINDOW

    def over(self, data: bytes, at: int) -> tuple[int, bool]:
        """Walk on.

        Args:
            data: What has come.
            at: Where the walk has come to.

        Returns:
            Where it comes to, and whether that is the mark behind the element; if not, the rest
            (an octet at most) is looked at when more has come.

        Raises:
            BracketError: The element is followed by no comma and no end of the array.
        """
        while at < len(data):
            window = whole_escapes(data[at : at + self._window])
            if not window:
                break
            self._window = min(self._window * 2, _LAST_WINDOW)
            end = self._end_in(without_escapes(window))
            if end is not None:
                return at + end, True
            at += len(window)
        return at, False

    def _end_in(self, window: bytes) -> int | None:
        parts = window.split(b'"')
        within = self._in_string
        self._in_string ^= len(parts) % 2 == 0
        outside = parts[1::2] if within else parts[::2]
        structure = b'"'.join(outside)
        brackets = Brackets(structure, self._depth)
        goes_on = brackets.stay_open() if self._depth else _ANY_MARK.search(structure) is None
        end = None if goes_on else self._end_of(structure)
        if end is None:
            self._depth = brackets.end
            return None
        inside = parts[::2] if within else parts[1::2]
        before = structure.count(b'"', 0, end)
        if within:
            before += 1
            end -= 1  # the string that was open has no quote in front of it
            return end + sum(map(len, inside[:before])) + before + 1
        return end + sum(map(len, inside[:before])) + before

    def _end_of(self, structure: bytes) -> int | None:
        """Return where the element ends in what stands outside of strings."""
        signed = memoryview(structure.translate(SIGNS_IN_PLACE)).cast("b")
        depths = list(itertools.accumulate(signed, initial=self._depth))
        at = 0
        while True:
            if depths[at]:
                try:
                    at = depths.index(0, at)
                except ValueError:
                    return None
                self._closed = True
            found = _ANY_MARK.search(structure, at)
            if found is None:
                return None
            at = found.start()
            mark = structure[at : at + 1]
            if mark == b"}":
                raise BracketError("a '}' closes nothing")
            if mark in b",]":
                return at
            if self._closed:
                raise BracketError("there is no comma between two elements")
            at += 1


SIGNS_IN_PLACE: Final = bytes(
    1 if octet in b"[{" else 255 if octet in b"]}" else 0 for octet in range(256)
)
"""The step of depth that each octet is, as a signed one."""
