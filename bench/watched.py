"""A process that is looked at while it works: memory and descriptors over time."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from statistics import median

from bench.usage import descriptors, rss_bytes

_MB = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One look."""

    at_s: float
    rss_mb: float
    descriptors: int


@contextlib.asynccontextmanager
async def watched(pid: int, every_s: float) -> AsyncIterator[list[Moment]]:
    """Look at a process until the block ends; the list grows meanwhile."""
    moments: list[Moment] = []

    async def look() -> None:
        started = time.monotonic()
        while True:
            moments.append(
                Moment(
                    at_s=time.monotonic() - started,
                    rss_mb=rss_bytes(pid) / _MB,
                    descriptors=descriptors(pid),
                )
            )
            await asyncio.sleep(every_s)

    looking = asyncio.create_task(look(), name="watched")
    try:
        yield moments
    finally:
        looking.cancel()
        await asyncio.wait({looking})


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """The last tenth of a time beside its second tenth: the first is for what is kept at all."""

    rss: float
    """Ratio of the medians."""
    descriptors: float
    """Difference of the medians."""


def growth(moments: Sequence[Moment]) -> Growth:
    """Compare the ends of a long time.

    Raises:
        ValueError: There are fewer than ten moments.
    """
    tenth = len(moments) // 10
    if not tenth:
        raise ValueError(f"{len(moments)} moments are too few")
    early, late = moments[tenth : 2 * tenth], moments[-tenth:]
    return Growth(
        rss=median(one.rss_mb for one in late) / median(one.rss_mb for one in early),
        descriptors=median(one.descriptors for one in late)
        - median(one.descriptors for one in early),
    )
