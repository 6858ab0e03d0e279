"""Medians, spreads and ratios. Pure."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured quantity over all rounds."""

    median: float
    low: float
    """The lowest round."""
    high: float
    """The highest round."""

    @classmethod
    def of(cls, values: Iterable[float]) -> "Figure":
        """Summarise the rounds.

        Raises:
            ValueError: There is none.
        """
        ordered = sorted(values)
        if not ordered:
            raise ValueError("no rounds were measured")
        return cls(statistics.median(ordered), ordered[0], ordered[-1])

    def told(self, digits: int = 0) -> str:
        """`median (low–high)` for a table."""
        return f"{self.median:,.{digits}f} ({self.low:,.{digits}f}–{self.high:,.{digits}f})"


def paired(one: Sequence[float], other: Sequence[float]) -> Figure:
    """The ratio of two contestants, round by round: what slowed a whole round cancels out.

    Raises:
        ValueError: Not the same number of rounds, or none.
    """
    return Figure.of(a / b for a, b in zip(one, other, strict=True))


def difference(one: Sequence[float], other: Sequence[float]) -> Figure:
    """What one costs above the other, round by round.

    Raises:
        ValueError: Not the same number of rounds, or none.
    """
    return Figure.of(a - b for a, b in zip(one, other, strict=True))


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value that this share (0–1) of the sorted values does not exceed.

    Raises:
        ValueError: There is none.
    """
    if not ordered:
        raise ValueError("nothing was measured")
    rank = max(1, -(-len(ordered) * share // 1))
    return ordered[int(rank) - 1]
