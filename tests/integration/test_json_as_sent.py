"""Objects that kombu's decoder takes for values: what a client sent is what arrives, on each path.

tests/fuzz/test_json_as_sent.py does the same with random values.
"""

import asyncio
import json
import random
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from kombu import pools
from kombu.entity import Queue

from tasks.app import build_app
from tasks.config import WorkerConfig
from tests.deployment.workers import Deployment
from tests.support.json_paths import Paths
from tests.support.json_shapes import OLD_FORMS, PYTHON_VALUES, REDBEATS, exact
from tests.support.waiting import eventually
from topology.layout import load

UNKNOWN = {"__type__": "product", "__value__": 7}
MOMENT = {"__type__": "datetime", "__value__": "2020-01-01T00:00:00"}
LOOKALIKES: list[Any] = [
    UNKNOWN,
    MOMENT,
    {"__type__": "bytes", "__value__": "AA=="},
    {"__type__": "base64", "__value__": "AA=="},
    {"__type__": "decimal", "__value__": "1.5"},
    {"__type__": "date", "__value__": "2020-01-01"},
    {"__type__": "uuid", "__value__": {"hex": "0" * 32}},
    {"__type__": MOMENT, "__value__": [UNKNOWN]},
    {**MOMENT, "__data__": None},
    *REDBEATS,
    *OLD_FORMS[:2],
    [{"deep": [UNKNOWN, MOMENT]}],
    [10**400, 2**63, -0.0, 1e22, 1.0, "😀", "\\ud800"],
]


@pytest.fixture
def deployment(amqp_url: str, redis_url: str, mongo_url: str, tmp_path: Path) -> Deployment:
    return Deployment(
        amqp_url=amqp_url,
        redis_url=redis_url,
        folder=tmp_path,
        app="tests.apps.json_app",
        env={"MONGO_URL": mongo_url, "HEALTH_FILE": str(tmp_path / "alive")},
    )


@pytest.mark.parametrize("pool", ["threads", "prefork", "asyncio"])
async def test_arguments_and_results_arrive_as_sent(
    gateway, deployment: Deployment, mongo_url: str, pool: str
):
    paths = Paths(gateway, mongo_url, random.Random(1))
    sent = exact(LOOKALIKES)
    async with deployment.worker(pool):
        assert exact(await paths.arguments(LOOKALIKES)) == sent
        assert exact(await paths.chained(LOOKALIKES)) == sent
        assert exact(await paths.joined(LOOKALIKES)) == sent
        assert exact(await paths.nested(LOOKALIKES)) == sent
        retried, delayed, buried = await asyncio.gather(
            paths.retried(LOOKALIKES), paths.delayed(LOOKALIKES), replayed(paths, LOOKALIKES)
        )

    assert exact(retried) == sent
    assert exact(delayed) == sent
    assert exact(buried) == sent


async def replayed(paths: Paths, values: list[Any]) -> list[Any]:
    """What a task gets that was buried with values of Python beside it, once it is replayed."""
    children = await paths.results(await paths.submit("demo.delays_to_the_dead", values))

    left = set(children)

    async def replay() -> bool:
        url = "/v1/dead-letters/default/replay"
        response = await paths.gateway.post(url, json={"ids": list(left)})
        left.intersection_update((await response.json()).get("missing", left))
        return not left

    await eventually(replay, 30, 0.5)
    results: list[Any] = await eventually(lambda: paths.results(children), 30, 0.5)
    return results


async def test_documents_arrive_as_sent(gateway, deployment: Deployment, mongo_url: str):
    paths = Paths(gateway, mongo_url, random.Random(1))
    documents: list[dict[str, Any]] = [
        {"_id": {"n": place, "v": found}, "m": found, "list": [found]}
        for place, found in enumerate(LOOKALIKES[:-2])
    ]
    documents += [{"_id": MOMENT}, {"_id": UNKNOWN}, dict(UNKNOWN), {"a": UNKNOWN}]
    large = {"_id": "large", "m": [MOMENT, UNKNOWN] * 8000}
    async with deployment.worker():
        for form in ("ndjson", "array", "single"):
            sent = [*documents, large]
            assert exact(await paths.stored(sent, form)) == exact(sent)


async def test_no_document_is_lost_beside_another(gateway, deployment: Deployment, mongo_url: str):
    """Single documents of a tenant share batches, and other programs publish what none reads."""
    paths = Paths(gateway, mongo_url, random.Random(1))
    documents = [{"_id": place, "m": 7 if place % 20 else UNKNOWN} for place in range(400)]
    long, deep = "1" * 5000, "[" * 3000 + "]" * 3000
    bad = f'{{"_id":"long","n":{long}}},{{"_id":"deep","n":{deep}}}'
    raw = f'[["papers",[{{"_id":1}},{bad},{{"_id":2}}]],{{}},{{}}]'
    async with deployment.worker():
        assert await paths.stored(documents, "single") == documents
        batch = deployment.publish(
            "documents.store", raw=raw.encode(), exchange="events", routing_key="documents.papers"
        )
        result = (await deployment.ended(batch))["result"]

    assert (result["stored"], result["duplicates"]) == (2, 0)
    assert [(one["index"], one["_id"]) for one in result["failed"]] == [(1, "long"), (2, "deep")]


async def test_beat_passes_on_what_a_schedule_was_given(
    gateway, deployment: Deployment, mongo_url: str
):
    paths = Paths(gateway, mongo_url, random.Random(1))
    body = {"task": "demo.note", "args": ["runs", LOOKALIKES[:-1]], "every": 1}
    beat = deployment.celery("beat", "beat", "-l", "info")
    beat.spawn()
    try:
        async with deployment.worker():
            assert exact(await paths.scheduled(LOOKALIKES[:-1])) == exact(LOOKALIKES[:-1])
            response = await gateway.put("/v1/schedules/told", json=body)
            assert response.status == 201
            ran = await eventually(lambda: deployment.redis.lindex("runs", 0), 20)
    finally:
        await beat.stop(10)

    assert exact(json.loads(ran)) == exact(LOOKALIKES[:-1])


async def test_values_of_stock_clients_and_results_in_python(gateway, deployment: Deployment):
    stock = Celery("stock", broker=deployment.amqp_url, backend=deployment.redis_url)
    queue = Queue("default", no_declare=True)
    ours = build_app(WorkerConfig.from_env(deployment.environment), load())
    with stock, ours:
        async with deployment.worker():
            took = stock.send_task("demo.takes", [["x", PYTHON_VALUES]], queue=queue)
            given = stock.send_task("demo.returns", [[UNKNOWN, PYTHON_VALUES]], queue=queue)
            assert (await deployment.ended(took.id))["result"] == "x"
            await deployment.ended(given.id)

            assert ours.AsyncResult(given.id).get(timeout=5) == [UNKNOWN, list(PYTHON_VALUES)]
            objects, values = stock.AsyncResult(given.id).get(timeout=5)
            assert (objects["__value__"], values) == (7, list(PYTHON_VALUES))
            shown = await (await gateway.get(f"/v1/tasks/{given.id}/result")).json()
            assert shown[0] == UNKNOWN
            assert shown[1][0] == {"__type__": "datetime", "__value__": "2026-01-31T12:30:00+00:00"}
            told = await (await gateway.get(f"/v1/tasks/{given.id}/stream")).text()
            assert '"result":[{"__type__":"product","__value__":7},[{"__type__":"datetime"' in told
            stock.backend.result_consumer.stop()
            ours.backend.result_consumer.stop()
            pools.reset()
