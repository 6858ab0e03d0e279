"""The header `Expect`: `100-continue` is met, anything else is left alone (RFC 9110, 10.1.1)."""

from aiohttp import HttpVersion11, web


async def meet(request: web.Request) -> None:
    """Ask the client for the body, if it waits for that; aiohttp itself refuses other values."""
    expected = request.headers.get("Expect", "")
    if request.version >= HttpVersion11 and expected.lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # not a byte of the answer
