"""Serve an aiohttp application on uvloop exactly as the gateway does."""

import asyncio
import os

import uvloop
from aiohttp import web


def serve(app: web.Application) -> None:
    """Listen on 127.0.0.1:PORT until killed."""
    uvloop.run(_serve(app))


async def _serve(app: web.Application) -> None:
    runner = web.AppRunner(app, access_log=None, auto_decompress=False, keepalive_timeout=75.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(os.environ["PORT"]), backlog=2048).start()
    await asyncio.Event().wait()
