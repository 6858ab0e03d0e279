"""The header `Expect`: `100-continue` is met, anything else is left alone (RFC 9110, 10.1.1).

Who reads the body asks for it. A request that is refused by its head alone is answered instead, so
that its client sends nothing in vain, and is closed: what of the body may still come is not read.
"""

from typing import Final

from aiohttp import HttpVersion11, hdrs, web

_ASKED: Final = web.RequestKey("asked_for_body", bool)


async def meet(_request: web.Request) -> None:
    """Leave it to who reads the body; aiohttp would ask at once, and refuse other values."""


async def ask(request: web.Request) -> None:
    """Ask the client for the body, if it waits for that."""
    if waits(request):
        request[_ASKED] = True
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # not a byte of the answer


def waits(request: web.Request) -> bool:
    """Return whether the client waits to be asked for the body: nothing of it has come."""
    expected = request.headers.get(hdrs.EXPECT)
    return (
        expected is not None
        and expected.lower() == "100-continue"
        and request.version >= HttpVersion11
        and not request.content.is_eof()
        and not request.content.total_bytes
        and _ASKED not in request
    )
