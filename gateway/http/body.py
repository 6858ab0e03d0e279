"""Request bodies: gzip undone within bounds, read whole or as a stream of chunks, in turns.

The server runs with aiohttp's own decompression off, so that a bomb is refused by its expanded
size and an unknown encoding gets a problem instead of a plain-text 400.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable

from aiohttp import hdrs, web

from gateway.decoding import byte_order
from gateway.decoding.gunzip import BadGzipError, Gunzip
from gateway.errors import Problem, malformed_json
from gateway.http import expectations
from gateway.http.turns import Turns
from gateway.sharing.held_bytes import HeldBytes
from gateway.sharing.tenant import TENANT

CHUNK_BYTES = 64 * 1024
"""Largest chunk of a body: what is done with one takes a few milliseconds, whatever it holds."""
_MIN_RATE = 1024.0
"""Bytes a second, on average, of a body that is of use only once all of it has come."""


class Bodies:
    """Reads the bodies of requests.

    Args:
        timeout_s: How long a client may send nothing; seconds.
        held: Bounds what requests hold in memory.
        turns: Shares the event loop.
        welcome: Whether the key of a request is still there, with the rights that it had.
    """

    def __init__(
        self,
        timeout_s: float,
        held: HeldBytes,
        turns: Turns,
        welcome: Callable[[web.Request], bool],
    ) -> None:
        self._timeout_s = timeout_s
        self._held = held
        self._turns = turns
        self._welcome = welcome

    async def read(self, request: web.Request, max_bytes: int) -> bytes:
        """Return the whole expanded body, without a byte order mark.

        Args:
            request: The request.
            max_bytes: Bound of the expanded size.

        Raises:
            Problem: `body-too-large`, `unsupported-media-type`, `malformed-json` (bad gzip, another
                encoding than UTF-8), `invalid-request` (the client sends too slowly, or not what
                HTTP says), `overloaded`. Queued: no.
            ConnectionResetError: The client has left.
        """
        content = request.content
        if hdrs.CONTENT_ENCODING not in request.headers and content.is_eof():
            # The usual small body has come with its headers: no timer, no loop.
            try:
                body = content.read_nowait(-1)
            except web.RequestPayloadError as error:
                raise _broken(error) from None
            if len(body) > max_bytes:
                raise too_large(max_bytes)
            return body if byte_order.is_plain(body) else _without_mark(body)
        length = request.content_length
        if length is not None and length > max_bytes:
            raise too_large(max_bytes)
        # One buffer: a client may send byte by byte, and a list would hold an object for each.
        whole = bytearray()
        held, tenant = self._held, TENANT.get()
        size = 0
        try:
            async for chunk in self.chunks(request, whole=True):
                if size + len(chunk) > max_bytes:
                    raise too_large(max_bytes)
                held.hold(tenant, len(chunk))
                size += len(chunk)
                whole += chunk
        finally:
            held.hold(tenant, -size)
        return bytes(whole)

    async def chunks(
        self, request: web.Request, *, whole: bool = False
    ) -> AsyncGenerator[bytes, None]:
        """Yield the expanded body, chunk by chunk, each at most 64 KiB, without a byte order mark.

        Before each chunk it waits for its turn at the loop: work of a few milliseconds for each
        chunk need not care for others.

        Args:
            request: The request.
            whole: It is of use only once all of it has come: it must not trickle in, as a stream
                may.

        Raises:
            Problem: as `read`, but for the size.
            ConnectionResetError: The client has left.
        """
        encoding = ", ".join(_encodings(request))
        if not encoding:
            chunks = self._raw_chunks(request, whole=whole)
        elif encoding in {"gzip", "x-gzip"}:
            chunks = self._gunzip(request, whole=whole)
        else:
            raise Problem(
                "unsupported-media-type",
                f"Content-Encoding {encoding!r} is not supported; gzip is",
                queued="no",
            )
        head: bytes | None = b""
        async for chunk in chunks:
            await self._turns.pause(request)
            if head is None:
                if chunk:
                    yield chunk
                continue
            head += chunk
            if not byte_order.undecided(head):
                if rest := _without_mark(head):
                    yield rest
                head = None
        if head:
            yield _without_mark(head)

    async def _raw_chunks(self, request: web.Request, *, whole: bool) -> AsyncIterator[bytes]:
        content = request.content
        pause_s = self._timeout_s
        started, size = time.monotonic(), 0
        await expectations.ask(request)
        try:
            while True:
                if content.is_eof():
                    chunk = content.read_nowait(-1)
                else:
                    async with asyncio.timeout(pause_s):
                        chunk = await content.readany()
                if not chunk:
                    return
                if not self._welcome(request):
                    raise Problem("unauthenticated", "the key was removed or changed", queued="no")
                size += len(chunk)
                if whole and time.monotonic() - started > pause_s + size / _MIN_RATE:
                    raise Problem(
                        "invalid-request",
                        f"the body comes slower than {_MIN_RATE:g} B/s",
                        queued="no",
                    )
                for start in range(0, len(chunk), CHUNK_BYTES):
                    yield chunk[start : start + CHUNK_BYTES]
        except TimeoutError:
            raise Problem(
                "invalid-request", f"no byte of the body came for {pause_s:g} s", queued="no"
            ) from None
        except web.RequestPayloadError as error:
            raise _broken(error) from None

    async def _gunzip(self, request: web.Request, *, whole: bool) -> AsyncIterator[bytes]:
        """Expand the chunks; an empty one now and then, so that the loop is left to others."""
        gunzip = Gunzip(CHUNK_BYTES)
        try:
            async for compressed in self._raw_chunks(request, whole=whole):
                for chunk in gunzip.feed(compressed):
                    yield chunk
            gunzip.end()
        except BadGzipError as error:
            raise malformed_json(f"the body is not valid gzip: {error}") from None


def _encodings(request: web.Request) -> list[str]:
    """Return the content codings to undo; an empty one and `identity` are none."""
    given = ",".join(request.headers.getall(hdrs.CONTENT_ENCODING, ())).lower().split(",")
    return [one for one in map(str.strip, given) if one not in {"", "identity"}]


def _without_mark(head: bytes) -> bytes:
    try:
        return byte_order.skip_mark(head)
    except byte_order.NotUtf8Error as error:
        raise malformed_json(f"the body is not UTF-8: {error}") from None


def _broken(error: web.RequestPayloadError) -> Problem:
    return Problem(
        "invalid-request", f"the chunked coding of the body is broken: {error}", queued="no"
    )


def too_large(max_bytes: int) -> Problem:
    """Return a 413 for a body, line or document over its bound."""
    return Problem("body-too-large", f"the expanded size is over {max_bytes} bytes", queued="no")
