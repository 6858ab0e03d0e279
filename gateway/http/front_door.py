"""What a foreign page can make a browser send, refused before it is looked at.

Without keys nothing but the sender's address stands between a caller and this gateway, and a page
anywhere can have the browser on this machine send requests to loopback. Three things keep it out:
the name that it had to use (`Host`, against names that were made to point here), the page that it
comes from (`Origin`), and the media type of its body (a page of another origin may send only those
of forms without asking first: Fetch standard, "CORS-safelisted request-header").
"""

import contextlib
from functools import lru_cache

from aiohttp import hdrs, web

from gateway.config import GatewayConfig
from gateway.errors import Problem
from gateway.hosts import is_loopback, is_own, matches, split_host
from gateway.http import expectations
from gateway.http.body import Bodies
from gateway.http.media_types import JSON, MEDIA_TYPES, has_body

_QUOTED_CHARACTERS = 200


class FrontDoor:
    """Lets requests in by host, origin and media type.

    Args:
        config: Hosts and origins that are allowed besides our own; whether there are keys.
    """

    def __init__(self, config: GatewayConfig) -> None:
        self._any_host = config.keys_file is not None or "*" in config.allowed_hosts
        self._hosts = config.allowed_hosts
        self._origins = frozenset(config.allowed_origins)
        # Clients name few hosts; looking one up again would cost more than reading the header.
        self._serves = lru_cache(maxsize=1024)(self._is_served)

    def __repr__(self) -> str:
        """Say what it lets in."""
        hosts = "any host" if self._any_host else f"loopback and {len(self._hosts)} hosts"
        return f"<FrontDoor {hosts}, {len(self._origins)} origins>"

    def check(self, request: web.Request, *, any_host: bool) -> None:
        """Let a request through that is sent to a host we serve, from no page or one that may.

        Args:
            request: The request.
            any_host: The route is served whatever the host.

        Raises:
            Problem: `unknown-host`, `forbidden-origin`, `invalid-request` (queued: no).
        """
        headers = request.headers
        if not any_host and not self._any_host:
            host = headers.get(hdrs.HOST, "")
            if not self._serves(host):
                raise _unknown_host(host)
            if request.raw_path[:1] not in "/*":
                self._check_whole_url(request)
        if hdrs.TRANSFER_ENCODING in headers:
            _check_coding(headers[hdrs.TRANSFER_ENCODING])
        if hdrs.ORIGIN in headers:
            self._check_origin(headers.getall(hdrs.ORIGIN), headers.get(hdrs.HOST, ""))

    def _check_whole_url(self, request: web.Request) -> None:
        """Check the host of a target that is a whole URL: RFC 9112, section 3.2.2."""
        url = request.url
        authority = f"[{url.host}]" if ":" in (url.host or "") else url.host or ""
        if url.user is not None or url.password is not None or not self._serves(authority):
            raise _unknown_host(authority)

    def _check_origin(self, origins: list[str], host: str) -> None:
        for origin in origins:
            if "*" in self._origins or origin in self._origins or is_own(origin, host):
                continue
            raise Problem(
                "forbidden-origin",
                f"pages of {origin[:_QUOTED_CHARACTERS]!r} may not use this gateway: they are "
                "neither its own nor named in ALLOWED_ORIGINS",
                queued="no",
            )

    def _is_served(self, host: str) -> bool:
        found = split_host(host)
        return found is not None and (is_loopback(found[0]) or matches(found[0], self._hosts))


def _check_coding(coding: str) -> None:
    """Refuse codings that aiohttp leaves undone; RFC 9112, section 6.1, of which this knows one."""
    if coding.strip().lower() != "chunked":
        raise Problem(
            "invalid-request",
            f"Transfer-Encoding {coding[:_QUOTED_CHARACTERS]!r} is not undone: only chunked is; "
            "Content-Encoding may be gzip",
            queued="no",
        )


def open_to_its_page(request: web.Request, response: web.StreamResponse) -> None:
    """Let the page read an answer, whatever it is, to a request of it that was let in."""
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is not None:
        response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
    response.headers[hdrs.VARY] = hdrs.ORIGIN


async def check_media_type(request: web.Request, bodies: Bodies) -> None:
    """Let a request through that has no body, or says what its body is.

    Chunks that come to no octet are no body; its first octet, or what waits to be asked for, is.

    Raises:
        Problem: `unsupported-media-type`, or what `bodies` raises (queued: no).
    """
    kind = request.headers.get("Content-Type")
    if kind == JSON or not has_body(request) or request.content_type in MEDIA_TYPES:
        return
    if request.content_length is None and not expectations.waits(request):
        async with contextlib.aclosing(bodies.chunks(request)) as chunks:
            if await anext(chunks, None) is None:
                return
    detail = "the body names no media type" if kind is None else f"{kind[:_QUOTED_CHARACTERS]!r}"
    raise Problem(
        "unsupported-media-type",
        f"{detail}: send Content-Type: {JSON}, or application/x-ndjson where it is taken",
        queued="no",
    )


def _unknown_host(host: str) -> Problem:
    return Problem(
        "unknown-host",
        f"without keys the host {host[:_QUOTED_CHARACTERS]!r} is not served: use localhost, set "
        "ALLOWED_HOSTS, or configure keys",
        queued="no",
    )
