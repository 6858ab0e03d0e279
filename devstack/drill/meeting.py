"""A task that ends when as many run at a time as there are slots."""

import asyncio
import secrets
from pathlib import Path

MEET_WITHIN_S = 60.0
"""A worker that a late fault ended may still be starting."""


async def meet(folder: str, guests: int) -> int:
    """Wait until so many run at a time, each of them a file in the folder.

    Raises:
        TimeoutError: fewer slots than that take tasks.
    """
    place = Path(folder)
    (place / secrets.token_hex(8)).touch()
    async with asyncio.timeout(MEET_WITHIN_S):
        while came(place) < guests:  # noqa: ASYNC110  # the event of many processes
            await asyncio.sleep(0.05)
    return guests


def came(place: Path) -> int:
    """Return how many have come."""
    return len(list(place.iterdir()))
