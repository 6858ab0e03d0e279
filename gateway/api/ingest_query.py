"""The query of an ingest: `?key=a,b&ids=all&on_error=skip&ack=stored&wait=5`."""

import re
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from gateway.api.queries import WAIT, Parameter, choice
from gateway.errors import invalid_request
from gateway.ingesting.documents import IngestOptions

_DEFAULT_WAIT_S: Final = 10.0
_NO_OPTIONS: Final = IngestOptions()
_MOST_FIELDS: Final = 100
"""Of a key: a reader is made for them with each request, at 10 µs a field and more."""
_UNREADABLE: Final = re.compile(r'["\\\x00-\x1f]')
"""What may not be in the name of a field that is read without the others: msgspec's own rule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """The query of an ingest."""

    options: IngestOptions = _NO_OPTIONS
    """How the documents are read and listed."""
    stored: bool = False
    """Answer when MongoDB has the documents."""
    wait_s: float = _DEFAULT_WAIT_S
    """Longest wait for that; seconds."""


def _fields(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if "" in names or "_id" in names or len(set(names)) < len(names):
        raise ValueError(text)
    if len(names) > _MOST_FIELDS or _UNREADABLE.search(text):
        raise ValueError(text)
    return names


_KEY: Final[Parameter[tuple[str, ...]]] = Parameter(
    name="key",
    words="Fields, between commas, that an absent `_id` is derived from: the first 32 hex digits "
    "of SHA-256 over the JSON array of their values, in this order, in UTF-8, without spaces, with "
    "sorted keys, and numbers in their shortest form (`1.0`, `1e-7`). The names of the fields are "
    "not in it. None of them may be absent or null. There are at most "
    f"{_MOST_FIELDS}, and none has a quotation mark, a backslash or a control character in its "
    "name.",
    schema={"type": "string"},
    read=_fields,
    expected=f"up to {_MOST_FIELDS} names of fields (a,b), each once, not _id, without quotation "
    "marks, backslashes and control characters",
    default=(),
)
_IDS: Final = choice(
    "ids",
    "Also above 1,000 documents; up to 100,000 anyway where only a part was accepted.",
    {"few": False, "all": True},
    default=False,
)
_ON_ERROR: Final = choice(
    "on_error", "What one bad document does.", {"reject": False, "skip": True}, default=False
)
_ACK: Final = choice(
    "ack", "When the answer comes.", {"confirmed": False, "stored": True}, default=False
)
PARAMETERS: Final[tuple[Parameter[Any], ...]] = (_KEY, _IDS, _ON_ERROR, _ACK, WAIT)


def read_query(request: web.Request) -> Query:
    """Return the query, checked.

    Raises:
        Problem: `invalid-request` (queued: no).
    """
    stored, wait_s = _ACK.of(request, queued="no"), WAIT.of(request, queued="no")
    if wait_s is not None and not stored:
        raise invalid_request("?wait", "Only with ack=stored", queued="no")
    return Query(
        options=IngestOptions(
            key=_KEY.of(request, queued="no"),
            every_id=_IDS.of(request, queued="no"),
            skip=_ON_ERROR.of(request, queued="no"),
        ),
        stored=stored,
        wait_s=_DEFAULT_WAIT_S if wait_s is None else wait_s,
    )
