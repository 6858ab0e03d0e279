"""Times as the contract prints them: RFC 3339, UTC, milliseconds."""

import time
from datetime import UTC, datetime
from functools import lru_cache


def rfc3339(moment: float) -> str:
    """A time from unix seconds."""
    text = datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")
    return text[:-6] + "Z"


def rfc3339_now() -> str:
    """The present time."""
    return _of_milliseconds(time.time_ns() // 1_000_000)


@lru_cache(maxsize=1)
def _of_milliseconds(milliseconds: int) -> str:
    """A busy gateway answers many requests within one millisecond."""
    return rfc3339(milliseconds / 1000)
