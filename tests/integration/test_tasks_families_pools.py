"""Documents, scripts, the catalog and the health file in real workers, on both pools."""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from pymongo import MongoClient

from devstack.mongo import Mongo
from devstack.product import celerys_pool
from devstack.redis_server import Redis
from penstock.wire.document_rules import BAD_ID, NO_OBJECT, NOT_FINITE
from penstock.wire.headers import CHECKED_HEADER
from tasks.registry import TASKS
from tests.deployment.lasting import Lasting, lasting
from tests.deployment.vhosts import VirtualHosts
from tests.support.waiting import eventually

pytestmark = pytest.mark.parametrize("pool", ["threads", "prefork", "asyncio"], scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def lasting_deployment(
    vhosts: VirtualHosts, redis_server: Redis, mongo: Mongo, tmp_path_factory: Any
) -> AsyncIterator[Lasting]:
    folder = tmp_path_factory.mktemp("lasting")
    env = {
        "MONGO_URL": f"{mongo.url_of('families')}?serverSelectionTimeoutMS=500",
        "HEALTH_FILE": str(folder / "alive"),
    }
    async with lasting(vhosts, redis_server, folder, env=env) as deployment:
        yield deployment


@pytest.fixture
async def deployment(lasting_deployment: Lasting) -> Lasting:
    await lasting_deployment.clear()
    return lasting_deployment


@pytest.fixture
def database(mongo: Mongo) -> Iterator[Any]:
    client: MongoClient[Any] = MongoClient(mongo.url_of("families"))
    with client:
        yield client.get_default_database()
        for name in client.get_default_database().list_collection_names():
            client.get_default_database()[name].delete_many({})


def batch(number: int) -> list[dict[str, Any]]:
    return [{"_id": f"{number}-{index}"} for index in range(10)]


def store(deployment: Lasting, documents: list[dict[str, Any]], **headers: Any) -> str:
    return deployment.publish(
        "documents.store",
        ["papers", documents],
        exchange="events",
        routing_key="documents.papers",
        **headers,
    )


async def test_a_batch_is_stored_with_ids_that_a_second_delivery_finds(
    deployment: Lasting, pool: str, database: Any
):
    async with deployment.worker(pool):
        first = store(deployment, [{"n": 1}, {"_id": "own"}, {"_id": 2**63}])
        record = await deployment.ended(first)
        again = store(deployment, [{"_id": f"{first}-0"}, {"_id": "own"}])
        repeated = await deployment.ended(again)

    result = record["result"]
    assert (result["stored"], result["duplicates"]) == (2, 0)
    assert [(one["index"], one["_id"]) for one in result["failed"]] == [(2, 2**63)]
    assert repeated["result"] == {"stored": 2, "duplicates": 2, "failed": []}
    assert database["papers"].count_documents({}) == 2


async def test_what_did_not_come_by_ingest_is_checked_by_the_worker(
    deployment: Lasting, pool: str, database: Any
):
    bad: list[Any] = [{"_id": "d", "$set": 1}, {"_id": "n", "n": [float("nan")]}, {"_id": None}, 5]
    evil = [{"_id": "evil"}]

    def send(*arguments: Any, **extra: Any) -> str:
        return deployment.publish(
            "documents.store", arguments, routing_key="mongo_queue", extra=extra
        )

    async with deployment.worker(pool):
        told = await deployment.ended(send("papers", [{"_id": "a"}, *bad, {"_id": "b"}]))
        refused = [
            await deployment.ended(one)
            for one in (
                send("system.js", evil),
                send("system.js", evil, **{CHECKED_HEADER: True}),
                send("a.b", evil),
                send(5, evil),
                send("papers", evil[0]),
            )
        ]
        trusted = await deployment.ended(send("of.ours", [{"_id": "x"}], **{CHECKED_HEADER: True}))

    assert told["result"] == {
        "stored": 2,
        "duplicates": 0,
        "failed": [
            {"index": 1, "_id": "d", "detail": "$.$set: the key starts with '$'"},
            {"index": 2, "_id": "n", "detail": f"$.n[0]: {NOT_FINITE}"},
            {"index": 3, "_id": None, "detail": f"$._id: {BAD_ID}"},
            {"index": 4, "_id": None, "detail": f"$: {NO_OBJECT}"},
        ],
    }
    for record in refused:
        assert (record["status"], record["result"]["exc_type"]) == ("FAILURE", "PermanentError")
    assert trusted["result"]["stored"] == 1  # the gateway's pattern counts for what it checked
    stored = {
        name for name in database.list_collection_names() if database[name].count_documents({})
    }
    assert stored == {"of.ours", "papers"}


async def test_batches_wait_for_mongodb_outside_the_worker_and_are_stored_later(
    deployment: Lasting, pool: str, mongo: Mongo
):
    async with deployment.worker(pool):
        await deployment.ended(store(deployment, batch(0)))
        await mongo.kill()
        try:
            waiting = [store(deployment, batch(number)) for number in range(1, 4)]
            await eventually(lambda: all(retried(deployment, one) for one in waiting), 20)
            other = await deployment.ended(deployment.publish("demo.add", [1, 2]))
            assert other["result"] == 3
        finally:
            await mongo.start()
        records = [await deployment.ended(task_id, 30) for task_id in waiting]

    assert [record["status"] for record in records] == ["SUCCESS"] * 3
    assert all(record["result"]["stored"] == 10 for record in records)
    assert deployment.depth("mongo_queue.dead") == 0


async def test_a_script_tells_its_lines_while_it_runs_and_its_exit_code(
    deployment: Lasting, pool: str
):
    async with deployment.worker(pool):
        task_id = deployment.publish("scripts.run", ["countdown.sh", ["2"]], routing_key="scripts")
        await eventually(
            lambda: {"log": {"stream": "stdout", "line": "2"}} in logs(deployment, task_id), 10
        )
        assert deployment.record(task_id)["status"] == "STARTED"
        record = await deployment.ended(task_id)
        refused = await deployment.ended(
            deployment.publish("scripts.run", ["../registry.py"], routing_key="scripts")
        )

    assert record["result"]["exit_code"] == 0
    assert record["result"]["stdout"] == "2\n1\ndone\n"
    assert [one["log"]["line"] for one in logs(deployment, task_id)] == ["2", "1", "done"]
    assert refused["status"] == "FAILURE"
    assert refused["result"]["exc_type"] == "ScriptRefusedError"


async def test_a_script_ends_with_the_time_limit_of_its_task(deployment: Lasting, pool: str):
    async with deployment.worker(pool):
        task_id = deployment.publish(
            "scripts.run", ["countdown.sh", ["60"]], routing_key="scripts", timelimit=[None, 1]
        )
        record = await deployment.ended(task_id)
        after = await deployment.ended(deployment.publish("demo.add", [1, 2]))

    assert record["status"] == "FAILURE"
    assert "SoftTimeLimitExceeded" in record["result"]["exc_type"]
    assert after["result"] == 3


async def test_the_heartbeat_counts_up_in_mongodb(deployment: Lasting, pool: str, database: Any):
    beats = database["penstock.periodic"]
    async with deployment.worker(pool):
        deployment.publish("periodic.heartbeat", routing_key="periodic")
        await eventually(lambda: beats.count_documents({"count": 1}), 10)
        deployment.publish("periodic.heartbeat", routing_key="periodic")
        await eventually(lambda: beats.count_documents({"count": 2}), 10)


async def test_a_worker_announces_its_tasks_and_withdraws_them_when_it_stops(
    deployment: Lasting, pool: str
):
    await deployment.rest()
    worker = deployment.celery(
        "shipped", "worker", "-P", celerys_pool(pool), "-c", "1", app="tasks.worker"
    )
    worker.spawn()
    try:
        await eventually(lambda: announced(deployment) == {spec.name for spec in TASKS}, 20)
        health = deployment.folder / "alive"
        await eventually(health.exists, 10)
        before = health.stat().st_mtime
        await eventually(lambda: health.stat().st_mtime > before, 10)
    finally:
        await worker.stop()

    assert announced(deployment) == set()


def retried(deployment: Lasting, task_id: str) -> bool:
    return deployment.states(task_id).count("RETRY") >= 2


def logs(deployment: Lasting, task_id: str) -> list[dict[str, Any]]:
    return [event for event in deployment.events(task_id) if "log" in event]


def announced(deployment: Lasting) -> set[str]:
    entries = deployment.redis.hvals("penstock:catalog")
    return {json.loads(entry)["task"] for entry in entries}
