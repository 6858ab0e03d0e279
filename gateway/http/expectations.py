"""The header `Expect`: `100-continue` is met, anything else is left alone (RFC 9110, 10.1.1).

Who reads the body asks for it. A request that is refused by its head alone is answered instead, so
that its client sends nothing in vain, and is closed: what of the body may still come is not read.
"""

from collections.abc import Callable
from typing import Any, Final

from aiohttp import HttpVersion11, hdrs, web
from multidict import CIMultiDict, CIMultiDictProxy

_ASKED: Final = web.RequestKey("asked_for_body", bool)
_EXPECTED: Final = web.RequestKey("expected", str)


def kept_aside(make: Callable[..., web.BaseRequest]) -> Callable[..., web.BaseRequest]:
    """Return a maker of requests whose `Expect` aiohttp does not see.

    It would ask for the body at once, and refuse other values, before any middleware.
    """

    def made(message: Any, *rest: Any) -> web.BaseRequest:
        expected = message.headers.get(hdrs.EXPECT)
        if expected is None:
            return make(message, *rest)
        headers = CIMultiDict(message.headers)
        del headers[hdrs.EXPECT]
        request = make(message._replace(headers=CIMultiDictProxy(headers)), *rest)
        request[_EXPECTED] = expected
        return request

    return made


async def ask(request: web.Request) -> None:
    """Ask the client for the body, if it waits for that."""
    if waits(request):
        request[_ASKED] = True
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # not a byte of the answer


def waits(request: web.Request) -> bool:
    """Return whether the client waits to be asked for the body: nothing of it has come."""
    expected = request.get(_EXPECTED)
    return (
        expected is not None
        and expected.lower() == "100-continue"
        and request.version >= HttpVersion11
        and not request.content.is_eof()
        and not request.content.total_bytes
        and _ASKED not in request
    )
