"""The history process in the test's own loop, or as a process that can be killed."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from pymongo import AsyncMongoClient
from pymongo.uri_parser import parse_uri

from devstack.ports import free_port
from history.config import HistoryConfig
from history.parts import Writing
from history.serving import running
from penstock.wire.keys import HISTORY_CHANGES
from tests.support.waiting import eventually


@dataclass(frozen=True)
class Kept:
    """What is in MongoDB."""

    database: Any

    async def task(self, task_id: str) -> dict[str, Any]:
        """Return the document of a task; empty: there is none."""
        return await self.database["tasks"].find_one({"_id": task_id}) or {}

    async def until(self, task_id: str, timeout_s: float = 10, **members: Any) -> dict[str, Any]:
        """Wait until the document of a task has these members, and return it."""

        async def there() -> dict[str, Any]:
            found = await self.task(task_id)
            assert found.items() >= members.items(), found
            return found or {}

        return await eventually(there, timeout_s=timeout_s)

    async def request(self, task_id: str) -> dict[str, Any]:
        """Wait until it is known what a task was asked with."""

        async def there() -> Any:
            return (await self.task(task_id)).get("request")

        found: dict[str, Any] = await eventually(there, timeout_s=15)
        return found


@pytest.fixture
async def kept(mongo_url) -> AsyncIterator[Kept]:
    """Read what history has written."""
    client: AsyncMongoClient[Any] = AsyncMongoClient(mongo_url, tz_aware=True)
    async with client:
        yield Kept(client[parse_uri(mongo_url)["database"]])


@pytest.fixture
def config(redis_url, mongo_url) -> HistoryConfig:
    return HistoryConfig(
        redis_url=redis_url,
        mongo_url=mongo_url,
        database=parse_uri(mongo_url)["database"],
        port=free_port(),
        events=False,
    )


@contextlib.asynccontextmanager
async def writing_history(config: HistoryConfig) -> AsyncIterator[Writing]:
    """Run the process in this loop, from when scripts write to it.

    It is not its first start, after which it would read all records that are there.
    """
    client: AsyncMongoClient[Any] = AsyncMongoClient(config.mongo_url)
    async with client:
        await client[config.database]["positions"].update_one(
            {"_id": HISTORY_CHANGES}, {"$setOnInsert": {"position": "0-0"}}, upsert=True
        )
    async with running(config) as writing:
        await eventually(
            lambda: writing.lease.held and writing.redis._redis.exists(HISTORY_CHANGES),
            timeout_s=10,
        )
        yield writing


@pytest.fixture
async def history(config) -> AsyncIterator[Writing]:
    async with writing_history(config) as writing:
        yield writing
