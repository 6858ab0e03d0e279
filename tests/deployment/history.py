"""The query server of history in the test's own loop, on a database of its own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from devstack.ports import free_port
from history.config import HistoryConfig
from history.database import Database
from history.keys import LAG
from history.server import make_app

SECRET = "the secret of history"


@dataclass
class RunningHistory:
    """A query server, and what it asks."""

    url: str
    database: Database
    runner: web.AppRunner
    lag_s: float | None = 0.5
    """What it says of its writer."""
    down: set[str] = field(default_factory=set)
    """Routes whose questions are cut off unanswered."""

    @property
    def fields(self) -> dict[str, str]:
        """Fields of the configuration of a gateway that asks it."""
        return {"history_url": self.url, "history_secret": SECRET}

    async def stop(self) -> None:
        """Answer no more."""
        await self.runner.cleanup()


@asynccontextmanager
async def running_history(mongo_url: str, port: int = 0) -> AsyncIterator[RunningHistory]:
    """Serve queries on the database of an address.

    Args:
        mongo_url: With the name of the database as its path.
        port: Where to listen; 0: a free one.
    """
    port = port or free_port()
    config = HistoryConfig(
        mongo_url=mongo_url, database=mongo_url.rpartition("/")[2], secret=SECRET, port=port
    )
    database = Database(config.mongo_url, config.database)
    await database.prepare()
    app = make_app(config, database)

    @web.middleware
    async def cutting(request: web.Request, handler: Any) -> web.StreamResponse:
        if request.path in running.down:
            assert request.transport is not None
            request.transport.abort()
            raise web.HTTPServiceUnavailable
        answer: web.StreamResponse = await handler(request)
        return answer

    app.middlewares.append(cutting)
    runner = web.AppRunner(app)
    running = RunningHistory(f"http://127.0.0.1:{port}", database, runner)
    app[LAG] = lambda: running.lag_s
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield running
    finally:
        await runner.cleanup()
        database.close()
