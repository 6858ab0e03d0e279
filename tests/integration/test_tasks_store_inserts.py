"""Batches against a real mongod."""

import asyncio
import datetime as dt
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase

from devstack.mongo import Mongo
from devstack.proxy import TcpProxy
from penstock.worker.errors import PermanentError, RetryableError
from tasks.store import Store
from tests.support.waiting import eventually


@pytest.fixture
def store(mongo_url: str) -> Iterator[Store]:
    store = Store(mongo_url)
    yield store
    store.close()


@pytest.fixture
async def database(mongo_url: str):
    client: AsyncMongoClient[Any] = AsyncMongoClient(mongo_url)
    async with client:
        yield client.get_default_database()


def documents(count: int) -> list[dict[str, Any]]:
    return [{"_id": f"id-{number}", "n": number} for number in range(count)]


async def test_a_batch_is_stored_once_however_often_it_comes(
    store: Store, database: AsyncDatabase[Any]
):
    first = await store.insert_documents("papers", documents(1_000))
    second = await store.insert_documents("papers", documents(1_000))

    assert first.as_json() == {"stored": 1_000, "duplicates": 0, "failed": []}
    assert second.as_json() == {"stored": 1_000, "duplicates": 1_000, "failed": []}
    assert await database["papers"].count_documents({}) == 1_000


async def test_a_partly_stored_batch_is_completed_and_first_writes_win(
    store: Store, database: AsyncDatabase[Any]
):
    await store.insert_documents("papers", documents(3))

    outcome = await store.insert_documents("papers", [{"_id": "id-1", "n": "later"}, *documents(5)])

    assert (outcome.stored, outcome.duplicates) == (6, 4)
    assert await database["papers"].find_one({"_id": "id-1"}) == {"_id": "id-1", "n": 1}
    assert await database["papers"].count_documents({}) == 5


async def test_documents_that_mongodb_refuses_cost_no_other(
    store: Store, database: AsyncDatabase[Any]
):
    too_deep: Any = 1
    for _ in range(300):  # over 200 levels mongod refuses the whole command
        too_deep = {"a": too_deep}
    deep: Any = 1
    for _ in range(185):  # over 180 it refuses the document
        deep = {"a": deep}
    bad: dict[int, Any] = {
        1: {"_id": "deep", "d": deep},
        4: {"_id": "too-deep", "d": too_deep},
        5: {"_id": [1]},
        7: {"_id": "big", "n": 2**63},
        9: {"_id": {"$where": 1}},
    }
    batch = documents(12)
    for index, document in bad.items():
        batch[index] = document

    outcome = await store.insert_documents("papers", batch)

    assert [one.index for one in outcome.failed] == sorted(bad)
    assert [one.document_id for one in outcome.failed][:2] == ["deep", "too-deep"]
    assert "nest" in outcome.failed[1].detail
    assert (outcome.stored, outcome.duplicates) == (7, 0)
    assert await database["papers"].count_documents({}) == 7


async def test_a_unique_index_of_the_operator_is_a_failure_not_a_duplicate(
    store: Store, database: AsyncDatabase[Any]
):
    await database["papers"].create_index("n", unique=True)
    await store.insert_documents("papers", documents(2))

    outcome = await store.insert_documents("papers", [{"_id": "new", "n": 1}, {"_id": "id-0"}])

    assert [(one.index, one.document_id) for one in outcome.failed] == [(0, "new")]
    assert "E11000" in outcome.failed[0].detail
    assert (outcome.stored, outcome.duplicates) == (1, 1)


OF_INDEXES: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "2dsphere": ([("v", "2dsphere")], {"v": {"type": "Point", "coordinates": [200, 1]}}),
    "2d": ([("v", "2d")], {"v": [200, 1]}),
    "2d, one number": ([("v", "2d")], {"v": [1]}),
    "2d, words": ([("v", "2d")], {"v": ["a", "b"]}),
    "2d, a word": ([("v", "2d")], {"v": {"x": 1, "y": "b"}}),
    "text": ([("v", "text")], {"v": "x", "language": "klingon"}),
    "text, no word": ([("v", "text")], {"v": "x", "language": 5}),
    "text, an array": ([("a", 1), ("v", "text")], {"v": "x", "a": [1]}),
    "hashed": ([("v", "hashed")], {"v": [1]}),
    "parallel arrays": ([("a", 1), ("b", 1)], {"a": [1], "b": [1]}),
    "places in arrays": ([("v.0.b", 1)], {"v": [{"0": {"b": 1}}]}),
}


async def test_a_document_that_an_index_cannot_hold_fails_alone(
    store: Store, database: AsyncDatabase[Any]
):
    for number, (name, (keys, bad)) in enumerate(OF_INDEXES.items()):
        await database[f"papers_{number}"].create_index(keys)

        outcome = await store.insert_documents(f"papers_{number}", [{}, bad, {}])

        assert (name, [one.index for one in outcome.failed]) == (name, [1])
        assert (name, outcome.stored) == (name, 2)


async def test_a_document_that_its_collection_does_not_take_fails_alone(
    store: Store, database: AsyncDatabase[Any]
):
    await database.create_collection("checked", validator={"n": {"$gte": 0}})
    await database.create_collection("series", timeseries={"timeField": "at"})
    for name, bad, good in (
        ("checked", {"n": -1}, {"n": 1}),
        ("series", {"at": "2020-01-01T00:00:00Z"}, {"at": dt.datetime.now(dt.UTC)}),
    ):
        outcome = await store.insert_documents(name, [good, bad, good])

        assert [one.index for one in outcome.failed] == [1]
        assert outcome.stored == 2


SCHEMA = {
    "required": ["name"],
    "additionalProperties": False,
    "properties": {
        "_id": {},
        "name": {},
        "n": {"bsonType": "int", "minimum": 0},
        "tags": {"items": {"bsonType": "string"}},
        "at": {"properties": {"zip": {"pattern": "^[0-9]+$"}}},
    },
}


@pytest.mark.parametrize(
    ("validator", "document", "reasons"),
    [
        ({"$jsonSchema": SCHEMA}, {"name": "a", "n": -1}, ["n: minimum 0: comparison failed (-1)"]),
        (
            {"$jsonSchema": SCHEMA},
            {"n": "x" * 500, "more": 1, "tags": ["a", 7], "at": {"zip": "x"}},
            ['n: bsonType "int": type did not match ("xxx', "at.zip: pattern", "lacks name",
             "may not have more"],
        ),
        (
            {"n": {"$gte": 0}, "name": {"$type": "string"}},
            {"n": -1, "name": 5},
            ['{"n": {"$gte": 0}}: comparison failed (-1)', "type did not match (5, int)"],
        ),
        ({"$expr": {"$gt": ["$a", "$b"]}}, {}, ["expression did not match"]),
    ],
)  # fmt: skip
async def test_a_validator_says_which_rule_is_broken(
    store: Store, database: AsyncDatabase[Any], validator: Any, document: Any, reasons: list[str]
):
    await database.create_collection("checked", validator=validator)

    outcome = await store.insert_documents("checked", [{"_id": "id", **document}])

    [detail] = [one.detail for one in outcome.failed]
    assert detail.startswith("Document failed validation: ")
    assert [one for one in reasons if one not in detail] == [], detail
    assert len(detail) <= 300


async def test_a_reason_behind_a_document_that_is_quoted_is_kept(
    store: Store, database: AsyncDatabase[Any]
):
    await database["papers"].create_index([("at", "2dsphere")])
    ring = [[0, 0], [1, 1], [0, 1], [1, 0], [0, 0]]
    bad = {"text": "x" * 1_000, "at": {"type": "Polygon", "coordinates": [ring]}}

    outcome = await store.insert_documents("papers", [bad])

    [detail] = [one.detail for one in outcome.failed]
    assert detail.startswith("Can't extract geo keys: ")
    assert " … " in detail
    assert "degrees" in detail  # in which MongoDB says which edges cross
    assert len(detail) <= 300


async def test_a_view_takes_no_batch(store: Store, database: AsyncDatabase[Any]):
    await database.create_collection("view", viewOn="papers", pipeline=[])

    with pytest.raises(PermanentError, match="is a view"):
        await store.insert_documents("view", documents(2))


async def test_an_empty_batch_is_nothing_to_do(store: Store):
    outcome = await store.insert_documents("papers", [])
    assert outcome.as_json() == {"stored": 0, "duplicates": 0, "failed": []}


@pytest.mark.parametrize("name", ["", "a$b", "..", "system.nothing", "x" * 300])
async def test_a_collection_that_cannot_exist_is_a_permanent_error(store: Store, name: str):
    with pytest.raises(PermanentError, match="collection") as raised:
        await store.insert_documents(name, documents(1))

    assert "full error" not in str(raised.value)


async def test_writes_wait_for_the_journal_of_a_majority(
    store: Store, database: AsyncDatabase[Any]
):
    await database.command("profile", 2)
    await store.insert_documents("papers", documents(1))
    await database.command("profile", 0)

    profile = await database["system.profile"].find_one({"command.insert": "papers"})

    assert profile is not None
    concern = profile["command"]["writeConcern"]
    assert (concern["w"], concern["j"]) == ("majority", True)
    assert concern["wtimeout"] == 5_000
    assert profile["command"]["ordered"] is False


async def test_mongodb_away_is_worth_another_try_and_the_try_succeeds(mongo: Mongo, mongo_url: str):
    store = Store(f"{mongo_url}?serverSelectionTimeoutMS=200")
    await store.insert_documents("papers", documents(1))
    await mongo.kill()
    try:
        with pytest.raises(RetryableError, match="MongoDB"):
            await store.insert_documents("papers", documents(10))
        with pytest.raises(RetryableError, match="MongoDB"):
            await store.count_up("papers", "counter", {})
    finally:
        await mongo.start()

    outcome = await eventually(lambda: retried(store, documents(10)), timeout_s=15)

    assert (outcome.stored, outcome.duplicates) == (10, 1)  # the first was journaled
    store.close()


async def test_mongodb_found_away_is_waited_for_once_and_found_back(mongo: Mongo, mongo_url: str):
    store = Store(f"{mongo_url}?serverSelectionTimeoutMS=2000")
    await store.insert_documents("papers", documents(1))
    await mongo.kill()
    try:
        with pytest.raises(RetryableError):
            # A write to the dead connection fails at once and without a look for another server.
            await store.insert_documents("papers", documents(2))
        with pytest.raises(RetryableError):
            await store.insert_documents("papers", documents(2))
        began = time.monotonic()
        for _ in range(20):
            with pytest.raises(RetryableError, match="MongoDB"):
                await store.insert_documents("papers", documents(2))
        assert time.monotonic() - began < 2  # less than one wait of the twenty
    finally:
        await mongo.start()

    outcome = await eventually(lambda: retried(store, documents(2)), timeout_s=15)

    assert outcome.stored == 2
    store.close()


async def retried(store: Store, batch: list[dict[str, Any]]):
    try:
        return await store.insert_documents("papers", batch)
    except RetryableError:
        return None


async def test_an_answer_that_never_comes_is_worth_another_try(
    mongo: Mongo, mongo_url: str, database: AsyncDatabase[Any]
):
    async with TcpProxy(mongo.port) as proxy:
        store = Store(
            proxy.url_through(mongo_url) + "?socketTimeoutMS=500&serverSelectionTimeoutMS=300"
        )
        await store.insert_documents("papers", documents(1))
        proxy.stall()
        async with asyncio.timeout(10):
            with pytest.raises(RetryableError):
                await store.insert_documents("papers", documents(5))
        proxy.resume()

        outcome = await eventually(lambda: retried(store, documents(5)), timeout_s=15)
        store.close()

    assert outcome.stored == 5
    assert await database["papers"].count_documents({}) == 5


async def test_a_mongodb_that_is_silent_is_found_out_by_its_heartbeats(
    mongo: Mongo, mongo_url: str
):
    async with TcpProxy(mongo.port) as proxy:
        store = Store(proxy.url_through(mongo_url))
        await store.insert_documents("papers", documents(1))
        proxy.stall()
        async with asyncio.timeout(12):  # the socket of the write has 30 s
            with pytest.raises(RetryableError):
                await store.insert_documents("papers", documents(2))
        async with asyncio.timeout(2):
            with pytest.raises(RetryableError, match="still away"):
                await store.insert_documents("papers", documents(2))
        proxy.resume()

        outcome = await eventually(lambda: retried(store, documents(2)), timeout_s=15)
        store.close()

    assert outcome.stored == 2


async def test_a_primary_that_does_not_answer_holds_up_one_that_tries_and_no_other(
    mongo_url: str, database: AsyncDatabase[Any]
):
    store = Store(mongo_url, patience_s=1)
    await store.insert_documents("papers", documents(1))
    other = Store(mongo_url, patience_s=1)
    await other.insert_documents("papers", documents(1))
    admin = database.client.admin
    await admin.command("fsync", lock=True)  # it answers heartbeats, and writes nothing
    try:
        with pytest.raises(RetryableError, match="no answer for 1 s"):
            await other.insert_documents("papers", documents(1))
        many = [other.insert_documents("papers", documents(1)) for _ in range(20)]
        told = Counter(map(str, await asyncio.gather(*many, return_exceptions=True)))
        assert told == {
            "MongoDB: no answer for 1 s": 1,
            "MongoDB: still away: no answer for 1 s": 19,
        }
        batches = [
            store.insert_documents("papers", documents(count)) for count in (2, 3, 300, 301, 302)
        ]
        sending = [asyncio.ensure_future(one) for one in batches]
        small = await asyncio.gather(*sending[:2], return_exceptions=True)
        assert [str(one) for one in small] == ["MongoDB: no answer for 1 s"] * 2
        began = time.monotonic()
        for _ in range(20):
            with pytest.raises(RetryableError, match="still away: no answer"):
                await store.insert_documents("others", documents(2))
        assert time.monotonic() - began < 1
    finally:
        await admin.command("fsyncUnlock")
    await asyncio.gather(*sending[2:])

    outcome = await store.insert_documents("papers", documents(310))

    assert (outcome.stored, outcome.duplicates) == (310, 302)
    store.close()
    other.close()


async def test_the_url_names_the_database_and_may_change_the_timeouts(mongo_url: str):
    database = mongo_url.rpartition("/")[2]
    store = Store(mongo_url)

    await store.insert_documents("papers", documents(1))

    assert repr(store) == f"<Store {database} open>"
    store.close()
    assert repr(store) == f"<Store {database} idle>"


async def test_counting_up_makes_the_document_and_counts(
    store: Store, database: AsyncDatabase[Any]
):
    assert await store.count_up("penstock.periodic", "one", {"by": "a"}) == 1
    assert await store.count_up("penstock.periodic", "one", {"by": "b"}) == 2

    assert await database["penstock.periodic"].find_one({}) == {"_id": "one", "by": "b", "count": 2}


def test_a_store_works_in_each_loop_that_uses_it(mongo_url: str):
    store = Store(mongo_url)

    for attempt in range(2):
        outcome = asyncio.run(store.insert_documents("papers", documents(3)))
        assert outcome.duplicates == 3 * attempt
    store.close()
