"""The media types of request bodies."""

from typing import Final

JSON: Final = "application/json"
NDJSON: Final = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl"})
"""Names of newline-delimited JSON; none is registered, all are in use."""
MEDIA_TYPES: Final = NDJSON | {JSON}
"""Every type that some route takes."""
