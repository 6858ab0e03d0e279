"""The query of an ingest: `?key=a,b&ids=all&on_error=skip&ack=stored&wait=5`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from gateway.api.queries import wait_seconds
from gateway.errors import invalid_request
from gateway.ingesting.documents import IngestOptions

_DEFAULT_WAIT_S: Final = 10.0
_NO_OPTIONS: Final = IngestOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """The query of an ingest."""

    options: IngestOptions = _NO_OPTIONS
    """How the documents are read and listed."""
    stored: bool = False
    """Answer when MongoDB has the documents."""
    wait_s: float = _DEFAULT_WAIT_S
    """Longest wait for that; seconds."""


def read_query(request: web.Request) -> Query:
    """The query, checked.

    Raises:
        Problem: `invalid-request` (queued: no).
    """
    given = request.query
    for name in given:
        if len(given.getall(name)) > 1:
            raise invalid_request(f"?{name}", "Given twice", queued="no")
    key = tuple(given["key"].split(",")) if "key" in given else ()
    if "" in key or "_id" in key or len(set(key)) < len(key):
        raise invalid_request("?key", "Expected names of fields: a,b", queued="no")
    stored = _choice(given, "ack", ("confirmed", "stored")) == "stored"
    wait_s = wait_seconds(request, queued="no")
    if wait_s is not None and not stored:
        raise invalid_request("?wait", "Only with ack=stored", queued="no")
    return Query(
        options=IngestOptions(
            key=key,
            every_id=_choice(given, "ids", ("few", "all")) == "all",
            skip=_choice(given, "on_error", ("reject", "skip")) == "skip",
        ),
        stored=stored,
        wait_s=_DEFAULT_WAIT_S if wait_s is None else wait_s,
    )


def _choice(given: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    """A parameter with few values, the first by default."""
    value = given.get(name, choices[0])
    if value not in choices:
        raise invalid_request(f"?{name}", f"Expected one of {', '.join(choices)}", queued="no")
    return value
