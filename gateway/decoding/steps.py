"""Work on a text that is too long for one go: a generator yields every few milliseconds. Pure."""

from collections.abc import Awaitable, Callable, Generator, Iterator, Sequence
from typing import Final, TypeVar

T = TypeVar("T")

Pause = Callable[[], Awaitable[None]]
"""Leaves the loop to others when their turn has come; see `Turns.of`."""

LARGE_BYTES: Final = 64 * 1024
"""A longer text is worked on in steps; a shorter one takes less than a millisecond or two."""


def at_once(steps: Generator[None, None, T]) -> T:
    """Take all steps without a pause, where the text is small, and return the result."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result


async def in_turns(steps: Generator[None, None, T], pause: Pause) -> T:
    """Take all steps, with a pause between two, and return the result.

    Raises:
        ConnectionResetError: The client has left, as `pause` reports it.
    """
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
        await pause()


def slices(texts: Sequence[bytes], most: int) -> Iterator[Sequence[bytes]]:
    """Yield consecutive texts to work on in one go: a few, or a large one alone.

    Args:
        texts: From a splitter.
        most: Bound of a slice's texts.
    """
    start = 0
    if texts and len(max(texts, key=len)) > LARGE_BYTES:
        for place, text in enumerate(texts):
            if len(text) > LARGE_BYTES:
                for first in range(start, place, most):
                    yield texts[first : min(first + most, place)]
                yield texts[place : place + 1]
                start = place + 1
    for first in range(start, len(texts), most):
        yield texts[first : first + most]
