"""Request bodies: gzip undone within bounds, read whole or as a stream of chunks.

The server runs with aiohttp's own decompression off, so that a bomb is refused by its expanded
size and an unknown encoding gets a problem instead of a plain-text 400.
"""

import asyncio
import time
import zlib
from collections.abc import AsyncIterator

from aiohttp import web

from gateway.access.auth import CALLER, TENANT
from gateway.errors import Problem
from gateway.parts import CONFIG, HELD, KEYRING

_GZIP_WINDOW = 16 + zlib.MAX_WBITS
_EXPANDED_CHUNK_BYTES = 256 * 1024
_MIN_RATE = 1024.0
"""Bytes a second, on average, of a body that is of use only once all of it has come."""


async def read_body(request: web.Request, max_bytes: int) -> bytes:
    """The whole expanded body.

    Args:
        request: The request.
        max_bytes: Bound of the expanded size.

    Raises:
        Problem: `body-too-large`, `unsupported-media-type`, `malformed-json` (bad gzip),
            `invalid-request` (the client sends too slowly, or not what HTTP says), `overloaded`.
            Queued: no.
    """
    length = request.content_length
    if length is not None and length > max_bytes:
        raise too_large(max_bytes)
    content = request.content
    if "Content-Encoding" not in request.headers and content.is_eof():
        # The usual small body has come with its headers: no timer, no loop.
        try:
            body = content.read_nowait(-1)
        except web.RequestPayloadError:
            raise _broken() from None
        if len(body) > max_bytes:
            raise too_large(max_bytes)
        return body
    chunks: list[bytes] = []
    size = 0
    held, tenant = request.app[HELD], TENANT.get()
    try:
        async for chunk in iter_body(request, whole=True):
            if size + len(chunk) > max_bytes:
                raise too_large(max_bytes)
            held.hold(tenant, len(chunk))
            size += len(chunk)
            chunks.append(chunk)
    finally:
        held.hold(tenant, -size)
    return b"".join(chunks)


async def iter_body(request: web.Request, *, whole: bool = False) -> AsyncIterator[bytes]:
    """The expanded body, chunk by chunk, each at most 256 KiB.

    Args:
        request: The request.
        whole: It is of use only once all of it has come: it must not trickle in, as a stream may.

    Raises:
        Problem: as `read_body`, but for the size.
    """
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding == "identity":
        async for chunk in _raw_chunks(request, whole=whole):
            yield chunk
    elif encoding in {"gzip", "x-gzip"}:
        async for chunk in _gunzip(request, whole=whole):
            yield chunk
    else:
        raise Problem(
            "unsupported-media-type",
            f"Content-Encoding {encoding!r} is not supported; gzip is",
            queued="no",
        )


async def _raw_chunks(request: web.Request, *, whole: bool) -> AsyncIterator[bytes]:
    content = request.content
    pause_s = request.app[CONFIG].body_timeout_s
    started, size = time.monotonic(), 0
    try:
        while True:
            if content.is_eof() and not content.at_eof():
                yield content.read_nowait(-1)
                return
            async with asyncio.timeout(pause_s):
                chunk = await content.readany()
            if not chunk:
                return
            if not request.app[KEYRING].holds(request[CALLER]):
                raise Problem("unauthenticated", "the key was removed or changed", queued="no")
            size += len(chunk)
            if whole and time.monotonic() - started > pause_s + size / _MIN_RATE:
                raise Problem(
                    "invalid-request", f"the body comes slower than {_MIN_RATE:g} B/s", queued="no"
                )
            yield chunk
    except TimeoutError:
        raise Problem(
            "invalid-request", f"no byte of the body came for {pause_s:g} s", queued="no"
        ) from None
    except web.RequestPayloadError:
        raise _broken() from None


async def _gunzip(request: web.Request, *, whole: bool) -> AsyncIterator[bytes]:
    inflate = zlib.decompressobj(_GZIP_WINDOW)
    async for compressed in _raw_chunks(request, whole=whole):
        pending = compressed
        while pending:
            if inflate.eof:  # a gzip body may be several members, RFC 1952 section 2.2
                inflate = zlib.decompressobj(_GZIP_WINDOW)
            try:
                chunk = inflate.decompress(pending, _EXPANDED_CHUNK_BYTES)
            except zlib.error as error:
                raise _bad_gzip(str(error)) from None
            pending = inflate.unconsumed_tail or inflate.unused_data
            if chunk:
                yield chunk
    if not inflate.eof:
        raise _bad_gzip("it ends too early")


def _broken() -> Problem:
    return Problem("invalid-request", "the chunked coding of the body is broken", queued="no")


def _bad_gzip(reason: str) -> Problem:
    return Problem("malformed-json", f"the body is not valid gzip: {reason}", queued="no")


def too_large(max_bytes: int) -> Problem:
    """413 for a body, line or document over its bound."""
    return Problem("body-too-large", f"the expanded size is over {max_bytes} bytes", queued="no")
