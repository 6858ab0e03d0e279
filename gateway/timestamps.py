"""Times as the contract prints them: RFC 3339, UTC, milliseconds."""

import time
from datetime import UTC, datetime


def rfc3339(moment: float) -> str:
    """A time from unix seconds."""
    text = datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")
    return text[:-6] + "Z"


def rfc3339_now() -> str:
    """The present time."""
    return rfc3339(time.time())
