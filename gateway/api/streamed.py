"""JSON too large to hold: sent as it is made, and cut where it cannot be ended."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from aiohttp import hdrs, web

from gateway.api.parts import INTAKE
from gateway.errors import Problem
from gateway.http.body import CHUNK_BYTES
from gateway.http.problems import REQUEST_ID

JSON: Final = {"Content-Type": "application/json; charset=utf-8"}


async def streamed(request: web.Request, pieces: AsyncGenerator[bytes, None]) -> web.StreamResponse:
    """Send a document piece by piece, as fast as the client reads.

    A problem in the middle cuts the connection: half a document is out, and there is no other
    honest end.

    Args:
        request: The request.
        pieces: Of the document; raises Problem where it cannot go on.

    Raises:
        ConnectionResetError: The client has left.
    """
    headers = {**JSON, "X-Request-Id": request[REQUEST_ID], "Cache-Control": "no-store"}
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    if request.method == hdrs.METH_HEAD:
        return response
    pause = request.app[INTAKE].turns.of(request)
    block: list[bytes] = []
    size = 0
    async with aclosing(pieces):
        try:
            async for piece in pieces:
                block.append(piece)
                size += len(piece)
                if size >= CHUNK_BYTES:
                    await response.write(b"".join(block))
                    block.clear()
                    size = 0
                    await pause()
        except Problem:
            if request.transport is not None:
                request.transport.abort()
            return response
    await response.write_eof(b"".join(block))
    return response
