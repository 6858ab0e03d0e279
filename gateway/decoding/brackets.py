"""How deep the brackets of a JSON text go, counted many at a time. Pure."""

import itertools
from collections.abc import Iterator
from typing import Final

_ONE_KIND: Final = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_STEPS: Final = bytes.maketrans(b"[]", b"\x01\xff")
_MOST_ROUNDS: Final = 4
_FEW: Final = 64
"""So many are counted sooner than taken out."""


class Brackets:
    """The brackets of one text: pairs that enclose nothing are taken out, a few times over.

    Most brackets of any text go that way, at a nanosecond an octet; only what is left is counted
    one by one, at twenty.

    Args:
        structure: JSON text without its strings.
        depth: How many brackets are open before it.
    """

    __slots__ = ("_all", "_depth", "_rest", "_rounds", "end")

    def __init__(self, structure: bytes, depth: int) -> None:
        rest = structure.translate(_ONE_KIND, _NO_BRACKETS)
        self._all = rest
        self._depth = depth
        self._rounds = 0
        self.end = depth + 2 * rest.count(b"[") - len(rest)
        """How many are open at the end."""
        while len(rest) > _FEW and self._rounds < _MOST_ROUNDS:
            shorter = rest.replace(b"[]", b"")
            if len(shorter) == len(rest):
                break
            rest = shorter
            self._rounds += 1
        self._rest = rest

    def deeper_than(self, levels: int) -> bool:
        """Return whether more than so many are open somewhere."""
        if self._depth + self._rounds + self._rest.count(b"[") <= levels:
            return False
        # What was taken out went deeper than what is left by a level a round, at most.
        if max(self._depths(self._rest)) + self._rounds <= levels:
            return False
        return max(self._depths(self._all)) > levels

    def stay_open(self) -> bool:
        """Return whether one that was open before the text is open all through it."""
        return self._depth > self._rest.count(b"]") or min(self._depths(self._rest)) > 0

    def _depths(self, brackets: bytes) -> Iterator[int]:
        steps = memoryview(brackets.translate(_STEPS)).cast("b")
        return itertools.accumulate(steps, initial=self._depth)
