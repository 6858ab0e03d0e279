"""The other side of the books: what MongoDB, Redis and RabbitMQ hold when it is quiet."""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import aio_pika
import aiohttp
import orjson
from pymongo import AsyncMongoClient
from redis.asyncio import Redis

from devstack.drill.ingest_load import COLLECTION
from devstack.drill.tasks import RUNS
from topology.model import Topology

FINAL = frozenset({"SUCCESS", "FAILURE", "REVOKED"})
_AT_ONCE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """Where the books are: the servers themselves, past every proxy."""

    amqp_url: str
    management_url: str
    redis_url: str
    mongo_url: str
    topology: Topology


@dataclass(frozen=True, slots=True)
class Record:
    """How a task ended, or stands."""

    state: str
    error: str = ""
    """The name of its exception's class."""
    text: str = ""
    """The text of that."""
    worker: str = ""
    done_at: float = 0.0
    """Unix time of its end."""
    result: Any = None

    @property
    def final(self) -> bool:
        """Whether it has ended."""
        return self.state in FINAL


NOTHING = Record("")
"""Of a task that Redis knows nothing of."""


@dataclass(frozen=True, slots=True)
class Run:
    """One execution of `drill.tally`."""

    task_id: str
    retries: int
    at: float


@dataclass(slots=True)
class Holdings:
    """Everything that was found."""

    records: dict[str, Record] = field(default_factory=dict)
    """By task id."""
    runs: dict[int, list[Run]] = field(default_factory=dict)
    """By number of the receipt."""
    stored: dict[int, list[int]] = field(default_factory=dict)
    """Indexes of the documents, by number of the receipt."""
    letters: dict[str, str] = field(default_factory=dict)
    """Queue of each dead letter by message id."""
    left: dict[str, int] = field(default_factory=dict)
    """Messages that are still in other queues."""


async def read_records(redis_url: str, ids: Iterable[str]) -> dict[str, Record]:
    """Read the records of tasks."""
    wanted = list(ids)
    found: dict[str, Record] = {}
    async with Redis.from_url(redis_url, socket_timeout=10) as client:
        for start in range(0, len(wanted), _AT_ONCE):
            part = wanted[start : start + _AT_ONCE]
            values = await client.mget([f"celery-task-meta-{one}" for one in part])
            found |= {one: _record(value) for one, value in zip(part, values, strict=True)}
    return found


async def wait_until_ended(redis_url: str, ids: Iterable[str], timeout_s: float) -> float:
    """Wait until all have ended, or none has for that long; return the seconds that it took.

    A machine that is busy has a backlog after half an hour of faults: that is late, not lost.
    """
    began = progress = time.monotonic()
    open_ids = set(ids)
    while open_ids and time.monotonic() < progress + timeout_s:
        records = await read_records(redis_url, open_ids)
        still = {one for one, record in records.items() if not record.final}
        if len(still) < len(open_ids):
            progress = time.monotonic()
        open_ids = still
        await asyncio.sleep(0.5)
    return time.monotonic() - began


async def wait_until_empty(management_url: str, timeout_s: float) -> dict[str, int]:
    """Wait until no queue holds a message; return what is left.

    Dead letters stay, and while workers live events come.
    """
    deadline = time.monotonic() + timeout_s
    url = f"{management_url}/api/queues"
    while True:
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            queues = await response.json()
        left = {
            queue["name"]: queue["messages"]
            for queue in queues
            if queue.get("messages")
            and not queue["name"].endswith((".dead", ".pidbox"))
            and not queue["name"].startswith(("celeryev", "broadcast.", "penstock.history.events"))
        }
        if not left or time.monotonic() > deadline:
            return left
        await asyncio.sleep(1)


async def read_holdings(servers: Servers, ids: Iterable[str]) -> Holdings:
    """Read everything."""
    holdings = Holdings(left=await wait_until_empty(servers.management_url, 30))
    runs: dict[int, list[Run]] = defaultdict(list)
    stored: dict[int, list[int]] = defaultdict(list)
    client: AsyncMongoClient[Any] = AsyncMongoClient(servers.mongo_url)
    async with client:
        database = client.get_default_database()
        async for one in database[RUNS].find(batch_size=10_000):
            runs[one["number"]].append(Run(one["task"], one["retries"], one["at"]))
        projection = {"_id": 0, "r": 1, "i": 1}
        async for one in database[COLLECTION].find({}, projection, batch_size=10_000):
            stored[one["r"]].append(one["i"])
    holdings.runs, holdings.stored = dict(runs), dict(stored)
    everything = {*ids, *(run.task_id for some in runs.values() for run in some)}
    holdings.records = await read_records(servers.redis_url, everything)
    topology = servers.topology
    names = [topology.dead_queue(name) for name, queue in topology.queues.items() if queue.ours]
    async for queue, message_id in _letters(servers.amqp_url, [*names, "unrouted.dead"]):
        holdings.letters[message_id] = queue
    return holdings


async def _letters(url: str, queues: list[str]) -> AsyncIterator[tuple[str, str]]:
    """Look at every dead letter; they go back when the connection is closed."""
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        for name in queues:
            queue = await channel.get_queue(name, ensure=False)
            while (letter := await queue.get(fail=False)) is not None:
                yield name, str(letter.message_id)


def _record(value: bytes | str | None) -> Record:
    if value is None:
        return NOTHING
    record = orjson.loads(value)
    result = record.get("result")
    failed = result if isinstance(result, dict) else {}
    done = record.get("date_done")
    return Record(
        record["status"],
        failed.get("exc_type", ""),
        failed.get("text", ""),
        record.get("worker") or "",
        datetime.fromisoformat(done).timestamp() if done else 0.0,
        result,
    )
