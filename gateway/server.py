"""One listening process: from start to drained."""

import asyncio
import contextlib
import gc
import logging
import sys
from functools import partial

from gateway.api import parts
from gateway.app import add_listener, make_app, ready
from gateway.config import GatewayConfig
from gateway.http.listener import listening
from penstock.ending_signals import ending_signals

log = logging.getLogger(__name__)

_GC_YOUNG_OBJECTS = 50_000
"""Container objects made before the youngest are looked through; Python's default is 700."""
_NOTICE_S = 0.5
"""Between refusing new work and closing the listening socket: what was on its way is answered."""


async def serve(config: GatewayConfig, *, reuse_port: bool = False) -> None:
    """Serve until a signal that ends processes, then drain.

    Args:
        config: What to serve.
        reuse_port: Share the port with other processes of this gateway. Their parent holds the
            other end of standard input; drain when it is gone, too.

    Raises:
        OSError: The address cannot be listened on.
        TopologyError: The layout file is not valid.
    """
    app = make_app(config)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in ending_signals():
        loop.add_signal_handler(number, stop.set)
    if reuse_port:
        _end_with_parent(stop)
    try:
        added, sharing = partial(add_listener, app), partial(ready, app) if reuse_port else None
        async with listening(app, config, added, sharing):
            spare_the_collector()
            log.info("listening", extra={"host": config.host, "port": config.port})
            await stop.wait()
            log.info("draining", extra={"notice_s": config.drain_notice_s})
            drain = app[parts.INTAKE].drain
            drain.announced = True
            stop.clear()
            with contextlib.suppress(TimeoutError):  # a second signal ends the notice
                await asyncio.wait_for(stop.wait(), config.drain_notice_s)
            drain.started = True
            await asyncio.sleep(_NOTICE_S)
    finally:
        log.info("stopped")


def _end_with_parent(stop: asyncio.Event) -> None:
    """Stop when the parent is gone: who starts it again would find the port taken."""
    loop, pipe = asyncio.get_running_loop(), sys.stdin.fileno()

    def gone() -> None:
        loop.remove_reader(pipe)
        stop.set()

    loop.add_reader(pipe, gone)


def spare_the_collector() -> None:
    """Look for cycles seldom, and never among what lives as long as the process.

    A request leaves no cycles behind, and a full pass over ten thousand open sockets would stall
    every stream for tenths of a second.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_YOUNG_OBJECTS, 50, 100)
