"""POST /v1/tasks/retry and /v1/tasks/revoke: each task once, at the rate, whoever dies."""

import json
import time
from collections import Counter
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest

from devstack.proxy import TcpProxy
from gateway.api import parts
from penstock.wire.history_queries import BEGIN, SETTLE
from penstock.wire.keys import AUDIT_KEY
from tests.deployment.history import RunningHistory
from tests.deployment.workers import Deployment
from tests.support.history_documents import NOW, document, failed
from tests.support.waiting import eventually


@pytest.fixture
def deployment(amqp_url, redis_url, tmp_path):
    return Deployment(amqp_url=amqp_url, redis_url=redis_url, folder=tmp_path)


async def call(gateway: Any, method: str, path: str, body: Any = None, status: int = 0) -> Any:
    async with gateway.request(method, path, json=body) as response:
        answer = await response.json()
        assert response.status == status or (not status and response.status < 300), answer
        return answer


async def ended(gateway: Any, operation: str, timeout_s: float = 30) -> dict[str, Any]:
    async def found() -> Any:
        one = await call(gateway, "GET", f"/v1/operations/{operation}")
        return one if one["state"] == "done" else None

    answer: dict[str, Any] = await eventually(found, timeout_s, 0.1)
    return answer


async def again(gateway: Any, **body: Any) -> dict[str, Any]:
    """Retry, and wait for the end of the operation."""
    begun = await call(gateway, "POST", "/v1/tasks/retry", body)
    return {**begun, **await ended(gateway, begun["operation"])}


async def new_ids(history: RunningHistory) -> dict[str, str]:
    """Under which ids tasks were published again."""
    items = await history.database.operation_items.find().to_list(None)
    return {one["task_id"]: one["new_id"] for one in items}


def doze(n: int, **members: Any) -> dict[str, Any]:
    fields = {"task": "demo.doze", "tenant": "acme", "at": NOW - timedelta(seconds=n), **members}
    return failed(f"old-{n:03}", json.dumps([f"n{n}", 0]), **fields)


async def audited(gateway: Any, action: str) -> list[dict[bytes, bytes]]:
    """Entries of the audit log."""
    async with gateway.app[parts.REDIS].pipeline() as pipe:
        pipe.xrange(AUDIT_KEY)
        [entries] = await pipe.execute()
    return [one for _, one in entries if one[b"action"] == action.encode()]


async def test_each_failed_task_runs_again_once_though_its_gateway_dies(
    make_gateway, deployment, history
):
    tasks = [doze(n) for n in range(300)]
    other = [document(f"done-{n}", task="demo.doze", tenant="acme") for n in range(20)]
    await history.database.tasks.insert_many(tasks + other)
    first = await make_gateway(**history.fields)
    where = {"task": "demo.doze", "q": "luck"}
    dry = await call(first, "POST", "/v1/tasks/retry", {"where": where, "dry_run": True}, 200)
    assert dry == {"matched": 300, "without_request": 0}
    begun = await call(first, "POST", "/v1/tasks/retry", {"where": where, "rate": 200}, 202)
    operation = begun["operation"]
    assert (begun["matched"], begun["without_request"]) == (300, 0)

    async def under_way() -> bool:
        return bool((await call(first, "GET", f"/v1/operations/{operation}"))["done"] >= 60)

    await eventually(under_way, 30, 0.02)
    history.down.add(SETTLE)  # what is published now is settled by no one
    published = deployment.depth("default")
    await eventually(lambda: deployment.depth("default") > published + 5)
    await first.close()
    assert 60 <= int(deployment.redis.hget(f"penstock:operation:{operation}", "done")) < 300
    history.down.clear()
    deployment.redis.delete(f"penstock:operation:{operation}:by")  # which takes 10 s
    second = await make_gateway(**history.fields)
    found = await ended(second, operation)
    assert (found["done"], found["failed"], found["of"]) == (300, 0, 300)

    assert deployment.depth("default") > 300  # some twice, under one id
    async with deployment.worker("asyncio", concurrency=20):
        await eventually(lambda: deployment.depth("default") == 0)
        ids = await new_ids(history)
        records = {old: await deployment.ended(new) for old, new in ids.items()}
    runs = Counter(run.removesuffix(" begins") for run in deployment.runs if "begins" in run)
    assert runs == Counter({f"n{n}": 1 for n in range(300)})
    assert {one["status"] for one in records.values()} == {"SUCCESS"}
    assert all(one["retried_from"] == old for old, one in records.items())
    state = await call(second, "GET", f"/v1/tasks/{ids['old-007']}")
    assert state["retried_from"] == "old-007"
    first_event = deployment.events(ids["old-007"])[0]
    assert (first_event["status"], first_event["retried_from"]) == ("STARTED", "old-007")
    [entry] = await audited(second, "tasks.retry")  # and not the dry run
    assert (entry[b"count"], entry[b"outcome"]) == (b"300", b"done")
    assert b"demo.doze" in entry[b"what"]


async def test_what_cannot_run_again_is_counted_and_the_rest_runs(
    make_gateway, deployment, history
):
    gateway = await make_gateway(**history.fields)
    without = document(
        "without", task="demo.doze", state="FAILURE", error={"type": "E", "message": ""}
    )
    await history.database.tasks.insert_many(
        [
            doze(1),
            without,
            doze(2, masked=True),
            doze(3, task="gone.task"),
            doze(4, state="STARTED"),
            doze(5, request={"args": "[1]", "kwargs": "{}", "embed": "{", "options": {}}),
            doze(6, tenant=None, request={"args": '["n6",0]', "kwargs": "{}", "embed": "",
                "options": {"queue": "ranked", "headers": {"k": "v"}, "time_limit": 30}}),
            doze(7, task="documents.store"),
        ]
    )  # fmt: skip
    ids = ["old-001", "without", *(f"old-00{n}" for n in range(2, 8)), "never-seen", "old-001"]
    found = await again(gateway, ids=ids, rate=1000)

    assert (found["matched"], found["without_request"], found["unknown"]) == (8, 2, 1)
    assert (found["of"], found["done"], found["failed"]) == (8, 2, 6)
    items = await history.database.operation_items.find().to_list(None)
    assert {one["task_id"]: one.get("code") for one in items} == {
        "old-001": None, "without": "no-request", "old-002": "masked", "old-003": "unknown-task",
        "old-004": "not-ended", "old-005": "malformed-json", "old-006": None,
        "old-007": "ingest-only",
    }  # fmt: skip
    assert found["refusals"] == {
        "no-request": 1, "masked": 1, "unknown-task": 1, "not-ended": 1, "malformed-json": 1,
        "ingest-only": 1,
    }  # fmt: skip
    message = deployment.take("ranked")
    assert message.headers["k"] == "v"
    assert (
        message.headers["x-penstock-tenant"] == "anonymous"
    )  # of whoever asked, where it had none
    assert message.headers["timelimit"] == [30, None]
    assert deployment.take("default").headers["x-penstock-tenant"] == "acme"


async def test_a_datetime_of_celerys_client_arrives_as_one(make_gateway, deployment, history):
    gateway = await make_gateway(**history.fields)
    when = '{"__type__":"datetime","__value__":"2026-01-31T12:00:00"}'
    await history.database.tasks.insert_many(
        [
            doze(n, task="demo.echo", request={"args": f"[{when}]", "kwargs": "{}", "embed": "",
                "options": {"queue": "default", **meaning}})
            for n, meaning in enumerate(({"json": "celery"}, {}, {"json": "mixed"}))
        ]
    )  # fmt: skip
    found = await again(gateway, ids=["old-000", "old-001", "old-002"])
    assert found["refusals"] == {"mixed-json": 1}
    headers = [deployment.take("default").headers for _ in range(2)]
    assert [one.get("x-penstock-json") for one in headers] == [None, "data"]
    shown = await call(gateway, "GET", "/v1/tasks/old-000?with=request")
    assert shown["request"]["options"] == {"queue": "default"}


async def test_its_chain_and_links_run_again_and_its_old_chord_does_not(
    make_gateway, deployment, history
):
    gateway = await make_gateway(**history.fields)
    embed = {
        "callbacks": [signature("demo.run", ["link 1.50"], "old-link", immutable=True)],
        "errbacks": None,
        "chain": [  # the next step last
            group([signature("demo.run", [f"m{n}"], f"old-m{n}", immutable=True) for n in (1, 2)]),
            signature("demo.run", ["last"], "old-last", immutable=True),
        ],
        "chord": signature("demo.run", ["chord"], "old-chord"),
    }
    request = {
        "args": '["n1", 0]', "kwargs": "{}", "embed": json.dumps(embed),
        "options": {"queue": "default"},
    }  # fmt: skip
    await history.database.tasks.insert_one(doze(1, request=request))
    for old in ("old-link", "old-last", "old-m1", "old-m2"):  # as a failed chain leaves them
        deployment.redis.set(f"celery-task-meta-{old}", '{"status": "REVOKED", "result": null}')
    async with deployment.worker("threads", concurrency=4):
        assert (await again(gateway, ids=["old-001"]))["done"] == 1
        marks = {"n1 begins", "n1 ends", "link 1.50", "m1", "m2", "last"}
        await eventually(lambda: set(deployment.runs) == marks, 20)
        await eventually(lambda: len(deployment.runs) == len(marks))
    assert json.loads(deployment.redis.get("celery-task-meta-old-last"))["status"] == "REVOKED"
    own = gateway.app[parts.ACCESS].task_ids
    keys = [key.removeprefix("celery-task-meta-") for key in deployment.redis.keys("celery-task*")]
    issued = [key for key in keys if not key.startswith("old-")]
    assert len(issued) == 5
    assert all(own.verify(key, ["acme"]) for key in issued)


def signature(task: str, args: list[Any], task_id: str, **members: Any) -> dict[str, Any]:
    return {
        "task": task, "args": args, "kwargs": {}, "options": {"task_id": task_id},
        "subtask_type": None, "immutable": False, **members,
    }  # fmt: skip


def group(tasks: list[Any]) -> dict[str, Any]:
    return {
        "task": "celery.group", "args": [], "kwargs": {"tasks": tasks},
        "options": {"task_id": "old-group"}, "subtask_type": "group", "immutable": False,
    }  # fmt: skip


async def test_the_rate_is_kept_and_the_oldest_go_first(make_gateway, deployment, history):
    gateway = await make_gateway(**history.fields)
    await history.database.tasks.insert_many([doze(n) for n in range(75)])
    started = time.monotonic()
    found = await again(gateway, where={"task": "demo.doze"}, rate=25)
    took_s = time.monotonic() - started
    assert found["done"] == 75
    assert 2.8 < took_s < 10
    taken = [deployment.take("default").headers["id"] for _ in range(75)]
    stored = await new_ids(history)
    assert taken == [stored[f"old-{n:03}"] for n in reversed(range(75))]  # the oldest first


async def test_many_are_revoked_by_a_filter(make_gateway, deployment, history):
    gateway = await make_gateway(**history.fields)
    outcomes = await call(
        gateway, "POST", "/v1/tasks/bulk", [{"task": "demo.doze", "args": ["n", 0]}] * 50
    )
    ids = [one["id"] for one in outcomes]
    waiting = [document(one, task="demo.doze", state="PENDING") for one in ids[:40]]
    others = [document(one, task="demo.add", state="PENDING") for one in ids[40:]]
    over = [doze(n) for n in range(5)]
    await history.database.tasks.insert_many(waiting + others + over)
    begun = await call(
        gateway, "POST", "/v1/tasks/revoke", {"where": {"task": "demo.doze"}, "rate": 500}, 202
    )
    assert (begun["matched"], begun["without_request"]) == (40, 0)  # not those that have ended
    found = await ended(gateway, begun["operation"])
    assert (found["done"], found["failed"], found["kind"]) == (40, 0, "revoke")
    states = (await call(gateway, "POST", "/v1/tasks/status", {"ids": ids}))["tasks"]
    assert [one["state"] for one in states] == ["REVOKED"] * 40 + ["PENDING"] * 10

    begun = await call(gateway, "POST", "/v1/tasks/revoke", {"ids": [*ids[:3], ids[45]]}, 202)
    found = await ended(gateway, begun["operation"])
    assert (found["done"], found["failed"]) == (1, 3)
    assert found["refusals"] == {"already-ended": 3}
    assert len(await audited(gateway, "tasks.revoke")) == 2


async def test_an_operation_that_redis_may_have_is_named(make_gateway, redis_url, history):
    await history.database.tasks.insert_many([doze(n) for n in range(3)])
    async with TcpProxy(urlsplit(redis_url).port) as proxy:
        gateway = await make_gateway(redis_url=proxy.url_through(redis_url), **history.fields)
        proxy.cut(refuse=True)
        body = {"where": {"task": "demo.doze"}}
        answer = await call(gateway, "POST", "/v1/tasks/retry", body, 503)
        assert answer["code"] == "state-unavailable"
        assert f"/v1/operations/{answer['operation']}" in answer["detail"]
        proxy.resume()

        async def unknown():
            path = f"/v1/operations/{answer['operation']}"
            async with gateway.get(path) as response:
                assert (await response.json())["code"] == "unknown-operation"
            return True

        await eventually(unknown, 20, 0.2)


@pytest.mark.parametrize(
    ("body", "at"),
    [
        ({}, "$"), ({"where": {}}, "$.where"), ({"where": {"task": ""}}, "$.where"),
        ({"ids": []}, "$.ids"), ({"ids": ["a"], "where": {"task": "x"}}, "$"),
        ({"where": {"colour": "red"}}, "$.where"), ({"where": {"state": "DONE"}}, "$.where.state"),
        ({"where": {"state": ["FAILURE", 5]}}, "$.where.state[1]"),
        ({"where": {"since": "soon"}}, "$.where.since"), ({"ids": ["a"], "rate": 0}, "$.rate"),
        ({"ids": ["a"], "rate": 1e9}, "$.rate"), ({"ids": ["a"] * 10_001}, "$.ids"),
        ({"where": {"limit": 5}}, "$.where"), ({"ids": ["a"], "dry_run": 1}, "$.dry_run"),
        ({"where": None}, "$"), ({"ids": [""]}, "$.ids[0]"),
    ],
)  # fmt: skip
async def test_a_wrong_request_is_named(make_watching_gateway, history, body, at):
    gateway = await make_watching_gateway(**history.fields)
    for verb in ("retry", "revoke"):
        answer = await call(gateway, "POST", f"/v1/tasks/{verb}", body, 400)
        assert answer["code"] == "invalid-request"
        assert answer["errors"][0]["at"].startswith(at), answer
    assert await history.database.operations.count_documents({}) == 0


async def test_a_repeated_idempotency_key_begins_one_operation(make_gateway, deployment, history):
    await history.database.tasks.insert_many([doze(n) for n in range(5)])
    gateway = await make_gateway(**history.fields)
    keyed = {"headers": {"Idempotency-Key": "night-1"}}
    url, asked = "/v1/tasks/retry", {"where": {"task": "demo.doze"}}
    history.down.add(BEGIN)
    async with gateway.post(url, json=asked, **keyed) as refused:
        assert refused.status == 503
    history.down.clear()
    [record] = deployment.redis.keys("penstock:idempotency:*")
    [operation] = json.loads(deployment.redis.get(record))["ids"]
    # What a history leaves that dies in the middle of writing an operation down.
    await history.database.operation_items.insert_one(
        {"_id": {"op": operation, "n": 1}, "task_id": "x", "new_id": None, "state": "waiting"}
    )

    answers = []
    for _ in range(2):
        async with gateway.post(url, json=asked, **keyed) as response:
            assert response.status == 202
            assert response.headers["Location"] == f"/v1/operations/{operation}"
            answers.append((await response.json(), "Idempotency-Replayed" in response.headers))

    begun = {"operation": operation, "matched": 5, "without_request": 0}
    assert answers == [(begun, False), (begun, True)]
    found = await ended(gateway, operation)
    assert (found["done"], found["failed"], found["of"]) == (5, 0, 5)
    assert deployment.depth("default") == 5
    assert await call(gateway, "GET", "/v1/operations") == {"operations": [found]}
    [entry] = [e for e in await audited(gateway, "tasks.retry") if e[b"outcome"] == b"done"]
    assert entry[b"count"] == b"5"
    async with gateway.post(url, json={"ids": ["other"]}, **keyed) as other:
        assert (await other.json())["code"] == "idempotency-key-reused"


async def test_an_operation_that_is_under_way_is_not_begun_again(make_gateway, deployment, history):
    await history.database.tasks.insert_many([doze(n) for n in range(5)])
    gateway = await make_gateway(**history.fields)
    keyed = {"headers": {"Idempotency-Key": "night-2"}}
    asked = {"where": {"task": "demo.doze"}}
    async with gateway.post("/v1/tasks/retry", json=asked, **keyed) as response:
        operation = (await response.json())["operation"]
    before = await ended(gateway, operation)
    [record] = deployment.redis.keys("penstock:idempotency:*")
    answered = json.loads(deployment.redis.get(record))
    # As when the gateway died before it had kept its answer.
    deployment.redis.set(record, json.dumps({**answered, "state": "unknown", "answer": ""}))

    async with gateway.post("/v1/tasks/retry", json=asked, **keyed) as response:
        assert (await response.json())["operation"] == operation

    assert await ended(gateway, operation) == before
    assert deployment.depth("default") == 5


async def test_the_newest_operations_of_a_tenant_or_of_all(make_gateway, history):
    gateway = await make_gateway(**history.fields)
    operations = gateway.app[parts.OPERATING].operations
    for n, tenant in enumerate(["acme", "other", "acme"]):
        await operations.begin("later-kind", f"s{n}", tenant, 1, f"id-{n}")
    assert [one.id for one in await operations.newest(50, "acme")] == ["id-2", "id-0"]
    assert [one.id for one in await operations.newest(2, None)] == ["id-2", "id-1"]
