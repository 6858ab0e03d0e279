"""How long to wait before what failed is tried again: exponential back-off with jitter."""

import random
from typing import Final

FIRST_WAIT_S: Final = 0.05
LONGEST_WAIT_S: Final = 2.0
"""While a server is away: long enough to spare it, short enough to be soon back."""

_jitter = random.Random()  # noqa: S311  # no secret
"""Not the one of all modules: a thread of ours must not disturb what an application has seeded."""


def backoff_s(
    failures: int, first_s: float = FIRST_WAIT_S, longest_s: float = LONGEST_WAIT_S
) -> float:
    """Return the seconds until the next attempt: between half and all of what has doubled.

    Args:
        failures: In a row before the last one; 0 or more.
        first_s: The most after the first failure; it doubles with each further one.
        longest_s: What it grows to.
    """
    return min(first_s * 2.0 ** min(failures, 30), longest_s) * _jitter.uniform(0.5, 1)
