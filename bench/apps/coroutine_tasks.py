"""What is measured on our workers, as coroutines: `PENSTOCK_TASKS=bench.apps.coroutine_tasks`.

`stock_worker.py` has the same tasks as functions. Names begin with `demo.`: the shipped layout
routes them.
"""

import asyncio
import os
from typing import Any

from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorCollection

from penstock.worker.errors import RetryableError
from penstock.worker.running.context import TaskContext
from penstock.worker.running.spec import TaskSpec

DATABASE, COLLECTION = "bench", "readings"
_RETRY_S = 1.0


class Crowd:
    """How many `nap`s run at once in this process."""

    running = 0
    most = 0


_collections: dict[asyncio.AbstractEventLoop, AsyncIOMotorCollection[Any]] = {}


async def plus(x: int, y: int) -> int:
    """Return the sum of two integers, and wait for nothing."""
    return x + y


async def insert(document: dict[str, Any]) -> str:
    """Insert one document with MongoDB's defaults."""
    loop = asyncio.get_running_loop()
    if loop not in _collections:
        client: AsyncIOMotorClient[Any] = AsyncIOMotorClient(os.environ["MONGO_URL"], io_loop=loop)
        _collections[loop] = client[DATABASE][COLLECTION]
    outcome = await _collections[loop].insert_one(document)
    return str(outcome.inserted_id)


async def nap(seconds: float) -> int:
    """Sleep, and return how many slept at once so far."""
    Crowd.running += 1
    Crowd.most = max(Crowd.most, Crowd.running)
    await asyncio.sleep(seconds)
    Crowd.running -= 1
    return Crowd.most


async def weigh(context: TaskContext[Any], text: str, seconds: float) -> dict[str, Any]:
    """Hold a long text for so long; return its length, and whether it came a second time."""
    await asyncio.sleep(seconds)
    return {"length": len(text), "deliveries": context.headers.get("x-delivery-count", 0)}


async def broken(x: int) -> None:
    """Fail, each time."""
    raise RuntimeError(f"{x} fails as asked")


async def once_more(context: TaskContext[Any], x: int) -> int:
    """Fail the first time, and succeed one second later."""
    if context.retries == 0:
        raise RetryableError("fails as asked", retry_in_s=_RETRY_S)
    return x


TASKS = (
    TaskSpec("demo.plus", plus),
    TaskSpec("demo.insert", insert),
    TaskSpec("demo.nap", nap),
    TaskSpec("demo.weigh", weigh),
    TaskSpec("demo.broken", broken),
    TaskSpec("demo.once_more", once_more),
)
