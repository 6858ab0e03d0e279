"""The trace that a request belongs to: W3C Trace Context, section 3.2."""

import re

from aiohttp import web
from multidict import istr

_HEADER = istr("traceparent")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def traceparent(request: web.Request) -> str | None:
    """Return the header `traceparent` of a request, if it has a sound one."""
    value = request.headers.get(_HEADER)
    return value if value is not None and _TRACEPARENT.fullmatch(value) else None
