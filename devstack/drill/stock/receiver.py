"""The web server that is called back, and answers an error now and then."""

import contextlib
import random
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

import orjson
from aiohttp import web

from devstack.ports import LOOPBACK

_ERRORS = 0.1
"""Share of callbacks that are refused, and so must come again."""


class Receiver:
    """Keeps the final states that were posted.

    Args:
        seed: Of what is refused.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311  # no secret: load
        self.told: dict[str, list[dict[str, Any]]] = defaultdict(list)
        """What was posted and taken, by task."""
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        """Take one callback."""
        state = orjson.loads(await request.read())
        if self._random.random() < _ERRORS:
            return web.Response(status=500)
        self.told[state["id"]].append(state)
        return web.Response(status=204)


@contextlib.asynccontextmanager
async def receiving(seed: int) -> AsyncIterator[Receiver]:
    """Serve a receiver on a free port."""
    receiver = Receiver(seed)
    app = web.Application()
    app.router.add_post("/", receiver.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, LOOPBACK, 0).start()
        receiver.url = f"http://{LOOPBACK}:{runner.addresses[0][1]}/"
        yield receiver
    finally:
        await runner.cleanup()
