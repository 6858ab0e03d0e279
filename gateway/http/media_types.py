"""The media types of request bodies."""

from typing import Final

from aiohttp import hdrs, web

from gateway.errors import Problem

JSON: Final = "application/json"
NDJSON: Final = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl"})
"""Names of newline-delimited JSON; none is registered, all are in use."""
MEDIA_TYPES: Final = NDJSON | {JSON}
"""Every type that some route takes."""


def has_body(request: web.Request) -> bool:
    """Return whether an octet of a body has come or may come: chunks that come to none are no body.

    Of chunks that have not come yet it is not known; `front_door.check_media_type` waits for them.
    """
    content = request.content
    return request.body_exists and not (content.is_eof() and not content.total_bytes)


def body_type(request: web.Request) -> str:
    """Return the media type that a request names, or JSON where there is nothing to name.

    An empty body is one of its type all the same: NDJSON without a line is none, and no error.
    """
    if hdrs.CONTENT_TYPE not in request.headers and not has_body(request):
        return JSON
    return request.content_type


def check_json(request: web.Request) -> None:
    """Let JSON through, and what has neither a body nor a type.

    Raises:
        Problem: `unsupported-media-type` (queued: no).
    """
    kind = request.headers.get(hdrs.CONTENT_TYPE)
    if kind == JSON:
        return  # the usual one, without aiohttp's parsing of it
    if request.content_type != JSON and (kind is not None or has_body(request)):
        raise Problem(
            "unsupported-media-type",
            f"{request.content_type!r} is not application/json",
            queued="no",
        )
