"""The process from its start to its end: the query server, and what writes beside it."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web

from history.config import HistoryConfig
from history.database import Database
from history.health import ROUTES
from history.keys import LAG, METRICS
from history.metrics import Metrics
from history.parts import SERVERS_AWAY, Writing
from history.server import make_app
from penstock.ending_signals import ending_signals
from penstock.looper import Faults, plain_line
from penstock.wire import tls

_FINISH_S = 3.0
CERTIFICATES_S = 5.0
"""How often it looks at the certificates for MongoDB, whose client reads them once."""
log = logging.getLogger(__name__)


async def serve(config: HistoryConfig) -> None:
    """Serve until a signal that ends processes.

    Raises:
        OSError: the address cannot be listened on.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in ending_signals():
        loop.add_signal_handler(number, stop.set)
    note_unheard(loop)
    await serve_until(stop, config)


async def serve_until(
    stop: asyncio.Event, config: HistoryConfig, *, look_every_s: float = CERTIFICATES_S
) -> None:
    """Serve until an event is set, and begin anew when the certificates for MongoDB were replaced.

    Args:
        stop: The event.
        config: of this process.
        look_every_s: How often it looks at the files; seconds.

    Raises:
        OSError: the address cannot be listened on.
    """
    certificates = tls.Files(tls.parameters(config.mongo_url))
    while not stop.is_set():
        async with running(config):
            log.info("listening: host=%s port=%d", config.host, config.port)
            while not (stop.is_set() or certificates.replaced()):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), look_every_s)
    log.info("stopped")


def note_unheard(loop: asyncio.AbstractEventLoop) -> None:
    """Log what ends with an error that nobody waits for any more: one line for each cause.

    Above all these are questions to a name server, whose asker has lost patience.
    """
    faults = Faults("callbacks", expected=(OSError,), tell=plain_line)

    def note(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        faults.failed(context.get("exception") or RuntimeError(context["message"]))

    loop.set_exception_handler(note)


@contextlib.asynccontextmanager
async def running(config: HistoryConfig) -> AsyncIterator[Writing]:
    """Write and answer until the end of the block.

    Raises:
        OSError: the address cannot be listened on.
    """
    database = Database(config.mongo_url, config.database)
    async with contextlib.AsyncExitStack() as ends:
        ends.callback(database.close)
        metrics = Metrics()
        writing = Writing.make(config, database, metrics)
        app = make_app(config, database)
        app[METRICS] = metrics
        app[LAG] = lambda: writing.lag_s
        app.router.add_routes(ROUTES)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)
        await runner.setup()
        ends.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, config.host, config.port).start()
        await ends.enter_async_context(_writing(writing))
        yield writing


@contextlib.asynccontextmanager
async def _writing(writing: Writing) -> AsyncIterator[None]:
    """Write until the end of the block; then save how far it is."""
    loops = [asyncio.create_task(each.run(), name=each.name) for each in writing.loopers]
    for loop in loops:
        loop.add_done_callback(_end_process)
    try:
        yield
    finally:
        for loop in loops:
            loop.remove_done_callback(_end_process)
            loop.cancel()
        _, left = await asyncio.wait(loops, timeout=_FINISH_S)
        if left:
            log.warning("not-stopped: loops=%s", sorted(loop.get_name() for loop in left))
        with contextlib.suppress(*SERVERS_AWAY):
            async with asyncio.timeout(_FINISH_S):
                await writing.finish()
        await writing.redis.close()


def _end_process(loop: "asyncio.Task[None]") -> None:
    """End the process when a loop has ended, which none ever does: another start begins anew."""
    log.critical("loop-ended: loop=%s", loop.get_name())
    signal.raise_signal(signal.SIGTERM)
