"""A balancer in front of a gateway: passes requests on, or answers them as one that cannot."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
from aiohttp import web

from devstack.ports import LOOPBACK, free_port

_OWN: Final = {"connection", "content-length", "transfer-encoding", "keep-alive", "upgrade"}
_OF_SOCKETS: Final = "sec-websocket-"

Answer = web.StreamResponse | None


def unreachable(_request: web.Request, status: int = 502) -> Answer:
    """Answer as a balancer does that reaches no gateway: with a page of its own."""
    text = f"<html><h1>{status}</h1></html>"
    return web.Response(status=status, text=text, content_type="text/html")


def passing(_request: web.Request) -> Answer:
    """Pass every request on."""
    return None


class Balancer:
    """Use it as an async context manager.

    Args:
        target: Address of the gateway.
    """

    def __init__(self, target: str) -> None:
        self._target = target.rstrip("/")
        self.port = free_port()
        self.url = f"http://{LOOPBACK}:{self.port}"
        self.answer: Callable[[web.Request], Answer] = passing
        """Gives the answer to a request in place of the gateway's; None: it is passed on."""
        self.asked: list[str] = []
        """Method, path and query of each request so far."""
        self._sockets: set[web.WebSocketResponse] = set()
        app = web.Application()
        app.router.add_route("*", "/{rest:.*}", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=1)
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        """Start listening."""
        self._session = aiohttp.ClientSession(auto_decompress=False)
        await self._runner.setup()
        await web.TCPSite(self._runner, LOOPBACK, self.port).start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop, and close what is open."""
        await self.lose()
        await self._session.close()
        await self._runner.cleanup()

    async def lose(self) -> None:
        """Close the WebSockets that are open."""
        await asyncio.gather(*(one.close() for one in list(self._sockets)))

    def count(self, words: str) -> int:
        """Return how many requests so far had these words in method, path and query."""
        return sum(words in one for one in self.asked)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(f"{request.method} {request.path_qs}")
        if (answer := self.answer(request)) is not None:
            return answer
        headers = {
            name: value
            for name, value in request.headers.items()
            if name.lower() not in _OWN and not name.lower().startswith(_OF_SOCKETS)
        }
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._socket(request, headers)
        url = f"{self._target}{request.raw_path}"
        body = await request.read()
        async with self._session.request(
            request.method, url, headers=headers, data=body or None, allow_redirects=False
        ) as found:
            kept = {n: value for n, value in found.headers.items() if n.lower() not in _OWN}
            return web.Response(status=found.status, headers=kept, body=await found.read())

    async def _socket(self, request: web.Request, headers: dict[str, str]) -> web.StreamResponse:
        offered = request.headers.get("Sec-WebSocket-Protocol", "")
        protocols = [one.strip() for one in offered.split(",") if one]
        url = f"{self._target}{request.raw_path}"
        async with self._session.ws_connect(url, protocols=protocols, headers=headers) as there:
            here = web.WebSocketResponse(protocols=protocols)
            await here.prepare(request)
            self._sockets.add(here)
            relays = [asyncio.create_task(_relay(*pair)) for pair in ((here, there), (there, here))]
            try:
                await asyncio.wait(relays, return_when=asyncio.FIRST_COMPLETED)
            finally:
                self._sockets.discard(here)
                for one in relays:
                    one.cancel()
                await here.close()
        return here


async def _relay(source: Any, sink: Any) -> None:
    async for message in source:
        if message.type is aiohttp.WSMsgType.TEXT:
            await sink.send_str(message.data)
