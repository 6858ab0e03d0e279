"""How long a fuzzer goes on: seconds in `make test`, an hour in `make fuzz`."""

import os
import time
from collections.abc import Iterator

DEFAULT_S = 6.0


def budget_s() -> float:
    """Seconds that one fuzzer may take: the variable FUZZ_SECONDS, or 6."""
    return float(os.environ.get("FUZZ_SECONDS", DEFAULT_S))


def seed() -> int:
    """Where a run begins; the variable FUZZ_SEED repeats one, and a failure prints it.

    In CI, where a change is judged and nothing is sought, it is the same each time.
    """
    return int(
        os.environ.get("FUZZ_SEED", 1 if "CI" in os.environ else time.time_ns() % 1_000_000_007)
    )


def rounds(seconds: float | None = None) -> Iterator[int]:
    """Number the rounds until the time is over; there is always a first one."""
    end = time.monotonic() + (budget_s() if seconds is None else seconds)
    number = 0
    while number == 0 or time.monotonic() < end:
        yield number
        number += 1
