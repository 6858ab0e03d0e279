"""Background loops without the application that runs them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from gateway.cancellation import stop
from penstock.looper import Looper


@contextlib.asynccontextmanager
async def turning(*loopers: Looper) -> AsyncIterator[None]:
    """Run loops for as long as the body runs."""
    tasks = [asyncio.create_task(looper.run(), name=looper.name) for looper in loopers]
    try:
        yield
    finally:
        await stop(*tasks)
