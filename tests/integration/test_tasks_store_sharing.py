"""Batches that share inserts into a real mongod: each task is told what it would be told alone."""

import asyncio
import random
from dataclasses import dataclass, field
from typing import Any

import pytest
from pymongo import AsyncMongoClient

from devstack.mongo import Mongo
from devstack.proxy import Direction, TcpProxy
from penstock.worker.errors import RetryableError
from tasks.store import Store, StoreOutcome
from tests.support.waiting import eventually

ROUNDS, ROUNDS_OF_OUTAGES = 12, 5
TAKEN = [{"_id": f"taken-{number}", "unique": number} for number in range(5)]
"""What stands in the collection before."""


def nested(levels: int) -> Any:
    inner: Any = 1
    for _ in range(levels):
        inner = {"a": inner}
    return inner


BAD: dict[str, Any] = {
    "too large a number": 2**63,
    "mongod refuses the document": nested(185),
    "mongod refuses the command": nested(250),
    "over 16 MiB": "x" * (16 * 1024 * 1024),
}


@dataclass
class Sent:
    """One batch of a round."""

    documents: list[dict[str, Any]] = field(default_factory=list)
    shared: int = 0
    """Documents whose `_id` other batches have too."""


def a_round(chosen: random.Random, *, bad: bool) -> list[Sent]:
    sent = []
    for number in range(chosen.randint(2, 40)):
        one = Sent()
        for index in range(chosen.choice([1, 1, 1, 2, 5, 40, 250])):
            kind = chosen.random()
            document: dict[str, Any] = {"_id": f"{number}-{index}", "from": number}
            if kind < 0.1:
                document["_id"] = f"shared-{chosen.randint(0, 9)}"
                one.shared += 1
            elif kind < 0.15:
                document["_id"] = f"taken-{chosen.randint(0, 4)}"
            elif kind < 0.2 and index and one.documents[0].keys() == {"_id", "from"}:
                document["_id"] = one.documents[0]["_id"]
                one.shared += str(document["_id"]).startswith("shared")
            elif kind < 0.23:
                document["unique"] = chosen.randint(0, 4)
            elif kind < 0.25:
                document["_id"] = [1]
            elif kind < 0.26 and bad:
                document["bad"] = BAD[chosen.choice(list(BAD))]
            one.documents.append(document)
        sent.append(one)
    return sent


class Arena:
    """A mongod, a store that shares, and one that is asked by one task at a time."""

    def __init__(self, mongo_url: str, proxy: TcpProxy) -> None:
        self.proxy = proxy
        self.client: AsyncMongoClient[Any] = AsyncMongoClient(mongo_url)
        self.database = self.client.get_default_database()
        options = "?serverSelectionTimeoutMS=500&heartbeatFrequencyMS=500"
        self.store = Store(proxy.url_through(mongo_url) + options)
        self.alone = Store(mongo_url)

    async def prepare(self, name: str) -> None:
        await self.database[name].drop()
        await self.database[name].create_index("unique", unique=True, sparse=True)
        await self.database[name].insert_many(TAKEN)

    async def inserts(self) -> int:
        status = await self.client.admin.command("serverStatus")
        return int(status["metrics"]["commands"]["insert"]["total"])

    async def ids(self, name: str) -> list[Any]:
        return [one["_id"] async for one in self.database[name].find({}, {"_id": 1}).sort("_id")]

    async def send(self, name: str, one: Sent, turns: int) -> StoreOutcome:
        for _ in range(turns):
            await asyncio.sleep(0)
        while True:
            try:
                return await self.store.insert_documents(name, one.documents)
            except RetryableError:
                await eventually(self.is_back, 10)

    async def is_back(self) -> bool:
        try:
            await self.store.insert_documents("probe", [{}])
        except RetryableError:
            return False
        return True


@pytest.fixture
async def arena(mongo: Mongo, mongo_url: str):
    async with TcpProxy(mongo.port) as proxy:
        arena = Arena(mongo_url, proxy)
        yield arena
        # It says goodbye to MongoDB, by way of the proxy on this loop.
        await asyncio.to_thread(arena.store.close)
        arena.alone.close()
        await arena.client.close()


@pytest.mark.parametrize("outage", [None, "cut", "cut in an answer", "refused"])
async def test_each_batch_is_told_what_it_would_be_told_alone(arena: Arena, outage: str | None):
    chosen = random.Random(str(outage))
    inserts = batches = 0
    for number in range(ROUNDS_OF_OUTAGES if outage else ROUNDS):
        name = f"papers_{number}"  # what a cut has left on its way is of the round before
        sent = a_round(chosen, bad=number % 4 == 0)
        await arena.prepare(name)
        alone = [await arena.alone.insert_documents(name, one.documents) for one in sent]
        stored = await arena.ids(name)
        await arena.prepare(name)
        before = await arena.inserts()
        turns = [chosen.choice([0, 0, 1, 30, 300]) for _ in sent]
        async with asyncio.TaskGroup() as group:
            group.create_task(break_it(arena.proxy, outage, chosen.random()))
            sending = [
                group.create_task(arena.send(name, *one)) for one in zip(sent, turns, strict=True)
            ]
        outcomes = [one.result() for one in sending]

        assert [one.failed for one in outcomes] == [one.failed for one in alone]
        assert [one.stored for one in outcomes] == [one.stored for one in alone]
        assert await arena.ids(name) == stored
        if outage is None:
            for one, together, single in zip(sent, outcomes, alone, strict=True):
                assert abs(together.duplicates - single.duplicates) <= one.shared
            assert sum(one.duplicates for one in outcomes) == sum(one.duplicates for one in alone)
            if number % 4:
                inserts += await arena.inserts() - before
                batches += len(sent)
    assert inserts <= batches / 2


async def test_of_two_batches_with_one_document_the_first_stores_it(arena: Arena):
    first, second = await asyncio.gather(
        *(arena.store.insert_documents("papers", [{"_id": 1, "n": n}]) for n in range(2))
    )

    assert (first.stored, first.duplicates) == (1, 0)
    assert (second.stored, second.duplicates) == (1, 1)
    assert await arena.database["papers"].find_one() == {"_id": 1, "n": 0}


async def break_it(proxy: TcpProxy, outage: str | None, share: float) -> None:
    """Break the connection to mongod in one way, somewhere in the round, and let it heal."""
    await asyncio.sleep(0.01 * share)
    match outage:
        case "cut":
            proxy.cut()
        case "cut in an answer":
            proxy.cut_after(1 + int(200 * share), Direction.TO_CLIENT)
        case "refused":
            proxy.cut(refuse=True)
    await asyncio.sleep(0.2 * share)
    proxy.resume()
