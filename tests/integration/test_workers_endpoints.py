"""/v1/workers and /v1/catalog against real workers: who there is, what runs, and commands."""

import json
from hashlib import sha256
from typing import Any

import pytest

from penstock.wire.announcements import WORKERS_KEY
from penstock.wire.keys import AUDIT_KEY
from tests.deployment.lasting import Lasting
from tests.support.waiting import eventually
from tests.support.worker_states import announce_silent

KEYS = {"ops": ("ops", ["admin"]), "acme": ("acme", ["submit", "read"]), "other": ("o", ["read"])}


@pytest.fixture
async def deployment(lasting_deployment: Lasting) -> Lasting:
    await lasting_deployment.clear()
    return lasting_deployment


@pytest.fixture
async def gateway(deployment, make_gateway, tmp_path):
    keys = tmp_path / "keys.toml"
    keys.write_text(
        "".join(
            f'[[key]]\nname = "{name}"\ntenant = "{tenant}"\nscopes = {json.dumps(scopes)}\n'
            f'sha256 = "{sha256(name.encode()).hexdigest()}"\n'
            for name, (tenant, scopes) in KEYS.items()
        )
    )
    urls = {"amqp_url": deployment.amqp_url, "redis_url": deployment.redis_url}
    return await make_gateway(**urls, keys_file=keys)


async def call(gateway: Any, method: str, path: str, key: str = "ops", body: Any = None) -> Any:
    headers = {"Authorization": f"Bearer {key}"}
    async with gateway.request(method, path, headers=headers, json=body) as response:
        return response.status, await response.json()


async def worker_of(gateway: Any, name: str = "w") -> dict[str, Any] | None:
    status, found = await call(gateway, "GET", "/v1/workers")
    assert status == 200, found
    return next((one for one in found["workers"] if one["name"].startswith(f"{name}@")), None)


async def until(gateway: Any, name: str = "w", timeout_s: float = 20, **wanted: Any) -> Any:
    async def so() -> Any:
        one = await worker_of(gateway, name)
        return one if one is not None and wanted.items() <= one.items() else None

    return await eventually(so, timeout_s, 0.2)


async def running(gateway: Any, name: str, key: str = "ops") -> list[dict[str, Any]]:
    status, found = await call(gateway, "GET", f"/v1/workers/{name}/tasks", key)
    assert status == 200, found
    return list(found["tasks"])


async def submit(gateway: Any, task: str, *args: Any) -> str:
    status, receipt = await call(
        gateway, "POST", "/v1/tasks", "acme", {"task": task, "args": list(args)}
    )
    assert status == 202, receipt
    return str(receipt["id"])


def changes(deployment: Lasting) -> list[dict[str, str]]:
    return [fields for _, fields in deployment.redis.xrange(AUDIT_KEY)]


async def test_a_worker_and_what_runs_there_are_shown(deployment, gateway):
    async with deployment.worker("threads"):
        one = await until(gateway, status="online", running=0)
        assert (one["pool"], one["concurrency"]) == ("threads", 2)
        assert "default" in one["queues"]
        assert "celery 5" in one["software"]

        task_id = await submit(gateway, "demo.doze", "shown", 60)
        await until(gateway, running=1)
        [task] = await running(gateway, one["name"])
        assert (task["id"], task["task"], task["state"]) == (task_id, "demo.doze", "STARTED")
        assert (task["worker"], task["queue"]) == (one["name"], "default")
        assert 0 <= task["runtime_s"] < 60
        assert [t["id"] for t in await running(gateway, one["name"], "acme")] == [task_id]
        assert await running(gateway, one["name"], "other") == []

        await call(gateway, "DELETE", f"/v1/tasks/{task_id}?terminate=true", "acme")
        after = await until(gateway, running=0)
        assert after["processed"] == one["processed"] + 1
        assert await running(gateway, one["name"]) == []
        [change] = changes(deployment)
        assert (change["who"], change["action"], change["what"], change["outcome"]) == (
            "acme", "task.revoke", task_id, "done",
        )  # fmt: skip


async def test_commands_are_carried_out_and_the_replies_told(deployment, gateway):
    async with deployment.worker("threads", "-Q", "default"):
        name = (await until(gateway, status="online", queues=["default"]))["name"]
        place = f"/v1/workers/{name}"

        status, answer = await call(gateway, "POST", f"{place}/consume", body={"queue": "ranked"})
        assert (status, answer["worker"], answer["replied"]) == (200, name, True)
        await until(gateway, queues=["default", "ranked"])
        assert (await call(gateway, "POST", f"{place}/cancel", body={"queue": "ranked"}))[0] == 200
        await until(gateway, queues=["default"])
        status, refused = await call(gateway, "POST", f"{place}/consume", body={"queue": "none"})
        assert (status, refused["code"]) == (404, "unknown-queue")
        status, refused = await call(gateway, "POST", f"{place}/pool", body={"grow": 2000})
        assert (status, refused["code"]) == (400, "invalid-request")
        status, refused = await call(gateway, "POST", f"{place}/shutdown", "acme")
        assert (status, refused["code"]) == (403, "forbidden")

        assert [(one["action"], one["what"]) for one in changes(deployment)] == [
            ("worker.consume", f"{name} ranked"), ("worker.cancel", f"{name} ranked"),
        ]  # fmt: skip


async def test_a_pool_grows_and_a_worker_that_is_shut_down_is_gone(deployment, gateway):
    async with deployment.worker("asyncio", name="a") as worker:
        one = await until(gateway, "a", status="online", concurrency=2)
        place = f"/v1/workers/{one['name']}"
        status, answer = await call(gateway, "POST", f"{place}/pool", body={"grow": 3})
        assert (status, answer["replied"]) == (200, True), answer
        await until(gateway, "a", concurrency=5)

        status, answer = await call(gateway, "POST", f"{place}/shutdown")
        assert (status, answer["replied"]) == (200, True)
        await until(gateway, "a", status="gone")
        await eventually(lambda: not worker.child.running, timeout_s=20)
        assert worker.child.returncode == 0
        assert await running(gateway, one["name"]) == []
        await deployment.rest()
        async with deployment.worker("threads"):  # the one that goes on after this test
            pass


async def test_a_worker_that_does_not_reply_is_told_apart_from_one_that_is_unknown(
    deployment, gateway
):
    name = "celery@dead"
    announce_silent(name, deployment.redis_url)

    assert (await until(gateway, "celery"))["status"] == "silent"
    status, answer = await call(
        gateway, "POST", f"/v1/workers/{name}/consume", body={"queue": "default"}
    )
    assert (status, answer) == (202, {"worker": name, "replied": False})
    for method, path in (("GET", "tasks"), ("POST", "shutdown")):
        status, refused = await call(gateway, method, f"/v1/workers/celery@none/{path}")
        assert (status, refused["code"]) == (404, "unknown-worker")
    deployment.redis.hdel(WORKERS_KEY, f"{name}\n1")


async def test_a_stock_worker_is_shown_as_its_events_and_answers_show_it(deployment, gateway):
    async with deployment.worker(
        "threads", "-Q", "stock", name="stock", app="tests.apps.asyncio_stock_app"
    ):
        one = await until(gateway, "stock", status="online", pool="threads", concurrency=2)
        assert one["queues"] == ["stock"]
        assert one["software"].startswith("py-celery 5")
        assert await running(gateway, one["name"]) == []


async def test_the_catalog_names_tasks_with_schema_workers_and_queues(deployment, gateway):
    async with deployment.worker("threads"):
        name = (await until(gateway, status="online"))["name"]

        async def shown() -> Any:
            status, found = await call(gateway, "GET", "/v1/catalog", "other")
            assert status == 200
            tasks = {one["name"]: one for one in found["tasks"]}
            return tasks if name in tasks.get("demo.add", {}).get("workers", ()) else None

        tasks = await eventually(shown, 15, 0.2)
        add = tasks["demo.add"]
        assert add["queues"] == ["default"]
        assert set(add["schema"]["properties"]) == {"x", "y"}
        assert add["schema"]["additionalProperties"] is False
        assert add["doc"]
        assert tasks["documents.store"]["queues"] == ["mongo_queue"]
