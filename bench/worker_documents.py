"""One MongoDB document for each task: motor on our asyncio pool, PyMongo on stock threads."""

from dataclasses import replace
from typing import Any

from pymongo import AsyncMongoClient

from bench.apps.coroutine_tasks import COLLECTION, DATABASE
from bench.documents import reading
from bench.draining import Sample, drained, in_turns, told
from bench.figures import paired
from bench.goals import Goal
from bench.pools import Pool
from bench.report import Context, Report
from bench.servers import Servers
from bench.workers import OURS, POOLS
from devstack.errors import StartError

_RIVAL = replace(POOLS["stock-threads"], tasks=2_000)
_POOLS = (replace(OURS, tasks=8_000), _RIVAL)


async def compare(context: Context) -> Report:
    """Each worker inserts as many documents as it gets tasks, with `insert_one`.

    Raises:
        StartError: Something failed, or documents are missing.
    """
    samples = await in_turns(context, _POOLS, lambda pool: _inserted(context.servers, pool))
    ours, theirs = samples[OURS.name], samples[_RIVAL.name]
    rate = paired([one.rate for one in ours], [one.rate for one in theirs])
    cost = paired([one.cpu_us for one in theirs], [one.cpu_us for one in ours])
    what = f"{OURS.title}, against {_RIVAL.title} with PyMongo"
    return Report(
        name="worker-documents",
        data=samples,
        text=told("one insert_one", _POOLS, samples),
        goals=[
            Goal(what=f"documents/s, one a task, {what}", least=4, aim=4, unit="×", measured=rate),
            Goal(
                what=f"CPU of a document, one a task: {_RIVAL.title}, PyMongo, over {OURS.title}",
                least=4, aim=4, unit="×", measured=cost,
            ),
        ],
    )  # fmt: skip


async def _inserted(servers: Servers, pool: Pool) -> Sample:
    """One worker in one round.

    Raises:
        StartError: MongoDB has not as many documents as there were tasks.
    """
    assert servers.mongo is not None
    client: AsyncMongoClient[Any] = AsyncMongoClient(servers.mongo.url)
    async with client:
        collection = client[DATABASE][COLLECTION]
        await collection.drop()
        sample = await drained(servers, pool, ({"task": "demo.insert", "args": [reading(1)]},))
        if (found := await collection.count_documents({})) != pool.tasks:
            raise StartError(f"{pool.title}: {found} documents of {pool.tasks} tasks")
        await collection.drop()
    return sample
