"""A web server that is called back: real, local, and told how to answer."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.support.waiting import eventually


@dataclass
class Call:
    """One request that came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.body)
        return told


@dataclass
class Receiver:
    """What came, and what is answered."""

    port: int = 0
    calls: list[Call] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    """Statuses of the next answers; then 204."""
    hang: asyncio.Event | None = None
    """Set: the next answers wait for it."""
    cut: int = 0
    """So many of the next requests have their connection cut instead of an answer."""

    def url(self, path: str = "/hook", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def of(self, task_id: str) -> list[Call]:
        return [call for call in self.calls if call.json["id"] == task_id]

    async def called(self, task_id: str, timeout_s: float = 20) -> Call:
        await eventually(lambda: self.of(task_id), timeout_s)
        return self.of(task_id)[0]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.calls.append(Call(request.path, dict(request.headers), body))
        if self.cut and request.transport is not None:
            self.cut -= 1
            request.transport.abort()
            return web.Response()
        if self.hang is not None:
            await self.hang.wait()
        status = self.answers.pop(0) if self.answers else 204
        headers = {"Location": self.url("/elsewhere")} if 300 <= status < 400 else {}
        return web.Response(status=status, headers=headers)


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """Serve a receiver on a free port."""
    receiver = Receiver()
    app = web.Application(client_max_size=32 * 1024 * 1024)
    app.router.add_route("*", "/{path:.*}", receiver.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiver.port = runner.addresses[0][1]
    try:
        yield receiver
    finally:
        await runner.cleanup()
