"""What /metrics shows of tasks: counted by workers of every pool, whatever restarts."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pymongo import MongoClient

from devstack.mongo import Mongo
from devstack.rabbit import Rabbit
from penstock.wire.task_counts import COUNTS_KEY, MAX_NAMES, OTHER, field_of
from tests.deployment.workers import Deployment
from tests.support.waiting import eventually


@pytest.fixture
def deployment(amqp_url: str, redis_url: str, tmp_path: Path) -> Deployment:
    return Deployment(amqp_url=amqp_url, redis_url=redis_url, folder=tmp_path)


async def shown(gateway) -> dict[tuple[str, ...], float]:
    """What /metrics says: (name, label values without `le`…) → value."""
    text = await (await gateway.get("/metrics")).text()
    return {
        (sample.name, *(value for name, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if family.name.startswith(("penstock_task", "penstock_documents"))
    }


def without_buckets(found: dict[tuple[str, ...], float]) -> dict[tuple[str, ...], float]:
    """What a failure shows."""
    return {key: value for key, value in found.items() if not key[0].endswith("_bucket")}


@pytest.mark.parametrize("pool", ["prefork", "asyncio"])
async def test_ends_retries_and_times_are_counted_once_over_restarts_of_workers(
    pool: str, deployment: Deployment, gateway
):
    async def submitted(task: str, *args: object, **options: object) -> str:
        body = {"task": task, "args": args, "options": {"queue": "default", **options}}
        answer = await gateway.post("/v1/tasks", json=body)
        assert answer.status == 202, await answer.text()
        return (await answer.json())["id"]

    def has_retried(task_id: str) -> bool:
        return deployment.record(task_id).get("status") in {"RETRY", "FAILURE"}

    expired = await submitted("demo.run", "too late", expires=1)
    assert (await deployment.ended(expired, 20))["status"] == "REVOKED"
    revoked = await submitted("demo.run", "never")
    assert (await gateway.delete(f"/v1/tasks/{revoked}")).status == 202
    for count in (1, 2):
        async with deployment.worker(pool, "-Q", "default"):
            ids = [await submitted("demo.run", "mark") for _ in range(3)]
            ids += [
                await submitted("demo.permanent", "no"),
                await submitted("demo.doze", "zz", 0.06),
            ]
            retried = await submitted("demo.hopeless", "later")
            for one in ids:
                await deployment.ended(one)
            await eventually(partial(has_retried, retried))

        async def is_counted(count: int = count) -> bool:
            found = await shown(gateway)
            return (
                found.get(("penstock_tasks_ended_total", "SUCCESS", "demo.run")) == 3 * count
                and found["penstock_tasks_ended_total", "FAILURE", "demo.permanent"] == count
                and found["penstock_tasks_ended_total", "REVOKED", "demo.run"] == 1
                and found["penstock_tasks_ended_total", "REVOKED", OTHER] == 1
                and found["penstock_task_retries_total", "demo.hopeless"] >= count
                and found["penstock_task_run_seconds_count", "demo.doze"] == count
                and found["penstock_task_run_seconds_count", "demo.run"] == 3 * count
                and 0.06 * count <= found["penstock_task_run_seconds_sum", "demo.doze"] < 5
                and found["penstock_task_run_seconds_bucket", "0.05", "demo.doze"] == 0
                and found["penstock_task_wait_seconds_count", "default"] >= 5 * count
            )

        try:
            await eventually(is_counted, 15)
        except AssertionError:
            raise AssertionError(without_buckets(await shown(gateway))) from None
    await deployment.ended(revoked)


async def problems(gateway) -> dict[str, dict[str, str]]:
    found = (await (await gateway.get("/v1/problems")).json())["problems"]
    return {one["code"]: one for one in found}


@pytest.mark.timeout(180)
async def test_documents_are_counted_and_reported_by_what_became_of_them(
    deployment: Deployment, gateway, mongo: Mongo, mongo_url: str
):
    deployment.env["MONGO_URL"] = f"{mongo_url}?serverSelectionTimeoutMS=500"
    document = {"_id": "the same", "n": 1}
    async with deployment.worker("prefork", "-Q", "mongo_queue", app="tasks.worker"):
        for _ in range(2):
            answer = await gateway.post(
                "/v1/ingest/things?ack=stored", json=[document, {"n": 2}, {"n": 3}]
            )
            assert (await answer.json())["stored"] == 3, await answer.text()
        with MongoClient[Any](mongo_url) as client:
            client.get_default_database()["things"].create_index("own", unique=True, sparse=True)
        [batch] = (
            await (await gateway.post("/v1/ingest/things", json=[{"own": 1}, {"own": 1}])).json()
        )["batches"]

        async def is_refused() -> bool:
            return "documents-refused" in await problems(gateway)

        await eventually(is_refused, 30)
        refused = (await problems(gateway))["documents-refused"]
        assert refused["subject"] == "things"
        assert "index: own_1" in refused["detail"]
        assert batch in refused["detail"]

        await mongo.kill()
        try:
            assert (await gateway.post("/v1/ingest/things", json=[{}])).status == 202

            async def waits() -> bool:
                return "documents-waiting" in await problems(gateway)

            await eventually(waits, 90, 0.5)
            assert "things" in (await problems(gateway))["documents-waiting"]["detail"]
        finally:
            await mongo.start()

        async def is_stored() -> bool:
            return "documents-waiting" not in await problems(gateway)

        await eventually(is_stored, 90, 0.5)

    async def are_counted() -> bool:
        found = await shown(gateway)
        return (
            found.get(("penstock_documents_total", "stored")) == 7
            and found["penstock_documents_total", "duplicate"] == 1
            and found["penstock_documents_total", "failed"] == 1
        )

    await eventually(are_counted, 15)


async def test_names_beyond_the_bound_are_counted_as_one(deployment: Deployment, gateway):
    deployment.redis.hset(
        COUNTS_KEY,
        mapping={field_of(("ended", "SUCCESS", f"old.{n}")): 1 for n in range(MAX_NAMES)},
    )
    async with deployment.worker("threads", "-Q", "default"):
        await deployment.ended(deployment.publish("demo.run", ["mark"]))
    await eventually(lambda: deployment.redis.hget(COUNTS_KEY, f"ended:SUCCESS:{OTHER}") == "1", 15)

    assert deployment.redis.hget(COUNTS_KEY, "ended:SUCCESS:demo.run") is None


async def test_the_age_of_what_waits_and_what_consumers_have_are_shown(
    deployment: Deployment, make_gateway, rabbit: Rabbit
):
    gateway = await make_gateway(management_url=rabbit.management_url)

    async def is_looked_at() -> bool:  # of what waited before the first look no age is known
        async with gateway.get("/v1/queues?name=default") as answer:
            [row] = (await answer.json())["queues"]
        return "drain_s" in row

    await eventually(is_looked_at, 20)
    deployment.publish("demo.run", ["mark"])

    async def are_shown() -> bool:
        text = await (await gateway.get("/metrics")).text()
        found = {
            sample.name: sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.labels.get("queue") == "default"
        }
        return (
            1 < found.get("penstock_queue_oldest_seconds", 0) < 30
            and found.get("penstock_queue_unacknowledged") == 0
        )

    await eventually(are_shown, 20)
