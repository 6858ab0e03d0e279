"""Times as the contract prints them: RFC 3339, UTC, milliseconds."""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any

import msgspec

Time = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]
"""A field that holds one."""


def rfc3339(moment: float) -> str:
    """A time from unix seconds."""
    second, microseconds = divmod(round(moment * 1_000_000), 1_000_000)
    return f"{_second(second)}.{microseconds // 1000:03}Z"


@lru_cache(maxsize=256)
def _second(moment: int) -> str:
    """What is told in a row is mostly of the same few seconds."""
    return datetime.fromtimestamp(moment, UTC).isoformat()[:19]


def unix_of(text: Any) -> float | None:
    """Return an ISO 8601 time as unix seconds; None: it is none. Without an offset it is UTC."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def issued_at(task_id: str) -> str:
    """When an id of ours was issued: what its receipt and its states tell as `accepted_at`."""
    return _of_milliseconds(int(task_id[:8] + task_id[9:13], 16))


@lru_cache(maxsize=64)
def _of_milliseconds(milliseconds: int) -> str:
    """A busy gateway answers many requests that came within one millisecond."""
    return rfc3339(milliseconds / 1000)
