"""Query parameters that several nouns share."""

import re

from aiohttp import web

from gateway.errors import Queued, invalid_request

MAX_WAIT_S = 60.0
_SECONDS = re.compile(r"[0-9]{1,6}(\.[0-9]{1,20})?")


def wait_seconds(request: web.Request, *, queued: Queued | None = None) -> float | None:
    """`?wait=` in seconds, 0–60; None when it is absent.

    Raises:
        Problem: `invalid-request`.
    """
    text = request.query.get("wait")
    if text is None:
        return None
    if not _SECONDS.fullmatch(text) or float(text) > MAX_WAIT_S:
        raise invalid_request("?wait", "Expected seconds from 0 to 60", queued=queued)
    return float(text)
