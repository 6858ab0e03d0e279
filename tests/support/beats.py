"""Beats as processes, and what they wrote of schedules."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from datetime import timedelta
from functools import partial
from typing import Any

from celery.schedules import schedule
from kombu.connection import Connection
from redbeat.schedulers import RedBeatSchedulerEntry
from redis import Redis

from devstack.children import Child
from penstock.worker.app import Penstock
from penstock.worker.beat.schedule_entries import PeriodicEntry
from tests.support.waiting import eventually

LOCK = "redbeat::lock"
BeatMaker = Callable[..., Child]


@asynccontextmanager
async def leading(beats: BeatMaker, name: str = "beat") -> AsyncIterator[Child]:
    """A beat that leads, stopped in order afterwards."""
    beat = beats(name)
    await eventually(lambda: "beat: leading" in beat.log_tail(200), timeout_s=20)
    yield beat
    await beat.stop()


@asynccontextmanager
async def one_thread() -> AsyncIterator[Callable[..., Awaitable[Any]]]:
    """Call a scheduler beside the event loop; its lock is of the thread that took it."""
    with ThreadPoolExecutor(1) as thread:
        yield partial(asyncio.get_running_loop().run_in_executor, thread)


def every(app: Penstock, name: str, seconds: float = 1, **fields: Any) -> RedBeatSchedulerEntry:
    definition = {"task": "demo.add", "args": [1, 2], **fields}
    entry = RedBeatSchedulerEntry(
        name=name, schedule=schedule(timedelta(seconds=seconds)), app=app, **definition
    )
    return entry.save()


def runs(client: Redis, name: str) -> int:
    """How often the schedule says that it ran."""
    meta = client.hget(f"redbeat:{name}", "meta")
    return int(json.loads(meta or "{}").get("total_run_count", 0))


def due(client: Redis, name: str) -> float:
    """When beat looks at the schedule, unix seconds."""
    return float(client.zscore("redbeat::schedule", f"redbeat:{name}") or 0)


def is_due(app: Penstock, name: str) -> bool:
    return bool(PeriodicEntry.from_key(f"redbeat:{name}", app=app).is_due().is_due)


def messages(url: str, queue: str) -> list[Any]:
    """Take every message out of a queue."""
    taken = []
    with Connection(url) as connection, closing(connection.channel()) as channel:
        while (message := channel.basic_get(queue, no_ack=True)) is not None:
            taken.append(message)
    return taken
