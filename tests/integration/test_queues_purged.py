"""POST /v1/queues/{name}/purge: each task that waits ends, once, and what waits for it with it."""

import asyncio
import dataclasses
import json
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from gateway.api import parts
from gateway.operating.operations import PREFIX, LongOperation
from gateway.operating.purging import PURGE
from tests.deployment.workers import Deployment
from tests.support.waiting import eventually


@pytest.fixture
def deployment(amqp_url, redis_url, tmp_path):
    return Deployment(amqp_url=amqp_url, redis_url=redis_url, folder=tmp_path)


async def call(gateway: Any, method: str, path: str, body: Any = None) -> Any:
    async with gateway.request(method, path, json=body) as response:
        answer = await response.json()
        assert response.status < 300, answer
        return answer


async def purge(gateway: Any, queue: str) -> dict[str, Any]:
    """Purge, and wait for the end of the operation."""
    begun = await call(gateway, "POST", f"/v1/queues/{queue}/purge")
    return await ended(gateway, begun["operation"])


async def ended(gateway: Any, operation: str, timeout_s: float = 60) -> dict[str, Any]:
    async def found() -> Any:
        one = await call(gateway, "GET", f"/v1/operations/{operation}")
        return one if one["state"] == "done" else None

    answer: dict[str, Any] = await eventually(found, timeout_s, 0.2)
    return answer


async def states(gateway: Any, ids: list[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for start in range(0, len(ids), 1000):
        body = {"ids": ids[start : start + 1000]}
        found += (await call(gateway, "POST", "/v1/tasks/status", body))["tasks"]
    return found


def add(x: int = 1) -> dict[str, Any]:
    return {"task": "demo.add", "args": [x, 2]}


async def test_tasks_and_what_waits_for_them_end_and_the_queue_is_empty(gateway, deployment):
    plain = (await call(gateway, "POST", "/v1/tasks", add()))["id"]
    chain = {"chain": [add(), {"task": "demo.add", "args": [1]}]}
    chord = {"chord": {"header": [add(), add(2)], "body": {"task": "demo.test_total"}}}
    linked = {"chain": [{**add(), "link": [{"task": "demo.add", "args": [1]}]}]}
    canvases = [await call(gateway, "POST", "/v1/canvas", one) for one in (chain, chord, linked)]
    others = deployment.publish("demo.add", [1, 2])
    deployment.publish("demo.add", [1, 2], without=("id",))  # of no task
    found = await purge(gateway, "default")

    assert (found["of"], found["done"], found["failed"]) == (7, 7, 0)
    assert deployment.depth("default") == 0
    [state, other] = await states(gateway, [plain, others])
    assert (state["state"], state["error"]["type"]) == ("REVOKED", "Purged")
    assert (other["state"], other["error"]["type"]) == ("REVOKED", "Purged")
    nodes = {key for one in canvases for key in _ids(one)}
    assert len(nodes) > 6
    assert {one["state"] for one in await states(gateway, sorted(nodes))} == {"REVOKED", "FAILURE"}


def _ids(value: Any) -> set[str]:
    """Every id of a receipt; those of groups are none of tasks."""
    if isinstance(value, list):
        return set().union(*map(_ids, value))
    if not isinstance(value, dict):
        return set()
    own = {value["id"]} if "task" in value else set()
    return own.union(*map(_ids, value.values()))


async def test_an_ingest_that_waits_for_its_batch_is_answered(gateway):
    waiting = asyncio.create_task(
        call(gateway, "POST", "/v1/ingest/papers?ack=stored&wait=50", [{"a": 1}])
    )
    broker_has_it = "mongo_queue"

    async def purged() -> bool:
        return bool((await purge(gateway, broker_has_it))["done"])

    await eventually(purged, 30, 0.1)
    async with asyncio.timeout(20):
        answer = await waiting
    assert answer["stored"] == 0
    assert len(answer["failed"]) == 1


@pytest.mark.parametrize("many", [2000, pytest.param(10_000, marks=pytest.mark.long)])
async def test_of_many_each_ends_once_while_a_worker_and_a_dying_gateway_are_at_it(
    make_gateway, deployment, many
):
    first, second = await make_gateway(), await make_gateway()
    tasks = [{"task": "demo.doze", "args": [f"n{n}", 0.1]} for n in range(many)]  # slower than it
    ids: list[str] = []
    for start in range(0, many, 2000):
        outcomes = await call(second, "POST", "/v1/tasks/bulk", tasks[start : start + 2000])
        ids += [one["id"] for one in outcomes]
    async with deployment.worker("asyncio", concurrency=4):
        await eventually(lambda: len(deployment.runs) > 100)
        begun = await call(first, "POST", "/v1/queues/default/purge")
        later = await call(second, "POST", "/v1/tasks", {"task": "demo.doze", "args": ["late", 0]})

        async def half() -> bool:
            one = await call(second, "GET", f"/v1/operations/{begun['operation']}")
            return bool(one["done"] > 200)

        await eventually(half, 30, 0.05)
        await first.close()
        found = await ended(second, begun["operation"])

        async def all_ended() -> Any:
            counts = Counter(one["state"] for one in await states(second, ids))
            return counts if counts.keys() <= {"SUCCESS", "REVOKED"} else None

        counts = await eventually(all_ended, 60, 0.5)
        assert (await deployment.ended(later["id"]))["status"] == "SUCCESS"
    runs = Counter(run.removesuffix(" begins") for run in deployment.runs if "begins" in run)
    assert set(runs.values()) == {1}
    assert counts["SUCCESS"] == len(runs) - 1
    assert counts["REVOKED"] == many - counts["SUCCESS"]
    assert found["failed"] == 0
    assert counts["REVOKED"] - 100 <= found["done"] <= counts["REVOKED"]
    ends = [json.loads(one) for one in deployment.redis.mget(f"celery-task-meta-{i}" for i in ids)]
    assert all(one["status"] in {"SUCCESS", "REVOKED"} for one in ends)


async def test_a_long_purge_is_done_in_slices_between_which_other_operations_are(gateway):
    ids = [one["id"] for one in await call(gateway, "POST", "/v1/tasks/bulk", [add()] * 120)]
    operation = LongOperation(
        id="p", kind=PURGE, subject="default", tenant="anonymous", since=time.time(), of=len(ids)
    )
    done = 0

    async def count(more: int, failed: int, refusals: Mapping[str, int] | None = None) -> None:
        nonlocal done
        assert (failed, refusals) == (0, None)
        done += more

    purging = gateway.app[parts.OPERATING].purging
    purging.slice_s = 0.0

    assert not await purging.purge(operation, count)
    assert 0 < done < len(ids)
    while not await purging.purge(dataclasses.replace(operation, done=done), count):
        pass
    assert done == len(ids)
    assert {one["state"] for one in await states(gateway, ids)} == {"REVOKED"}


async def test_a_repeated_key_purges_once_and_what_came_later_stays(gateway, deployment):
    keyed, answers = {"headers": {"Idempotency-Key": "night-3"}}, []
    for number in range(2):
        await call(gateway, "POST", "/v1/tasks", {"task": "demo.add", "args": [number, 2]})
        async with gateway.post("/v1/queues/default/purge", **keyed) as response:
            assert response.status == 202
            answers.append(await response.json())
            assert ("Idempotency-Replayed" in response.headers) == bool(number)
        assert (await ended(gateway, answers[0]["operation"]))["done"] == 1

    assert answers[0] == answers[1]
    assert deployment.depth("default") == 1


async def test_what_came_later_and_stands_in_front_stays_and_what_is_behind_it_ends(
    gateway, deployment
):
    def ranked(priority: int) -> dict[str, Any]:
        return {**add(priority), "options": {"queue": "ranked", "priority": priority}}

    early, late = [ranked(n % 5) for n in range(40)], [ranked(9)] * 30
    ids = [one["id"] for one in await call(gateway, "POST", "/v1/tasks/bulk", early)]
    since = time.time()
    await eventually(lambda: time.time() > since + 0.01)
    later = [one["id"] for one in await call(gateway, "POST", "/v1/tasks/bulk", late)]
    operation = LongOperation(
        id="p", kind=PURGE, subject="ranked", tenant="anonymous", since=since, of=len(ids)
    )
    counted = []

    async def count(done: int, failed: int, refusals: Mapping[str, int] | None = None) -> None:
        assert refusals is None
        counted.append((done, failed))

    purging = gateway.app[parts.OPERATING].purging
    assert await purging.purge(operation, count)

    assert [sum(figures) for figures in zip(*counted, strict=True)] == [40, 0]
    assert {one["state"] for one in await states(gateway, ids)} == {"REVOKED"}
    assert {one["state"] for one in await states(gateway, later)} == {"PENDING"}
    await eventually(lambda: deployment.depth("ranked") == 30)


async def test_the_lease_of_an_operation_is_no_operation(gateway, deployment):
    operation = (await call(gateway, "POST", "/v1/queues/default/purge"))["operation"]
    await ended(gateway, operation)
    deployment.redis.set(f"{PREFIX}{operation}:by", "a gateway that works on it", ex=10)
    async with gateway.get(f"/v1/operations/{operation}:by") as response:
        assert (response.status, (await response.json())["code"]) == (404, "unknown-operation")


async def test_an_operation_that_never_was_is_unknown(gateway):
    async with gateway.get("/v1/operations/none") as response:
        assert (response.status, (await response.json())["code"]) == (404, "unknown-operation")
    async with gateway.post("/v1/queues/none/purge") as response:
        assert (response.status, (await response.json())["code"]) == (404, "unknown-queue")
