"""How tasks of an app end: revoked, expired, told to a callback."""

import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.config import GatewayConfig
from tests.deployment.gateway import Gateway, running_gateway
from tests.deployment.lasting import Lasting
from tests.support.celery_apps import DEPLOYMENT, WORKER, revoke, state_of, submit
from tests.support.receiver import Receiver, receiving
from tests.support.waiting import eventually

__all__ = ["DEPLOYMENT"]


async def test_a_task_expires(apps: Gateway, lasting_deployment: Lasting):
    await lasting_deployment.rest()
    task = await submit(apps, "note", "expired", wait=0, expires=0.1)
    async with lasting_deployment.worker(*WORKER):
        told = await state_of(apps, task["id"], "?wait=20")

    assert (told["state"], told["error"]["message"]) == ("REVOKED", "expired")
    assert not lasting_deployment.runs


async def test_a_revoked_task_is_told_so_once_a_worker_has_dropped_it(
    apps: Gateway, lasting_deployment: Lasting
):
    async with lasting_deployment.worker("prefork", "-Q", "celery,feeds", concurrency=1):
        slow = await submit(apps, "slow", 600, wait=0)
        await eventually(
            lambda: lasting_deployment.record(slow["id"]).get("status") == "STARTED", 20
        )
        tasks = [await submit(apps, "note", "waiting", wait=0) for _ in range(20)]
        for task in tasks:
            assert await revoke(apps, task["id"]) == {
                "id": task["id"], "state": "PENDING", "revoking": True,
            }  # fmt: skip
        assert [(await state_of(apps, task["id"]))["state"] for task in tasks] == ["PENDING"] * 20
        await revoke(apps, slow["id"], "?terminate=true")
        for task in tasks:
            assert (await state_of(apps, task["id"], "?wait=20"))["state"] == "REVOKED"

    assert not lasting_deployment.runs
    async with apps.delete(f"/v1/tasks/{tasks[0]['id']}") as answer:
        assert (answer.status, (await answer.json())["code"]) == (409, "already-ended")


async def test_a_delayed_task_is_dropped_at_the_gate(apps: Gateway, lasting_deployment: Lasting):
    tasks = [await submit(apps, "note", "delayed", wait=0, countdown=4) for _ in range(20)]
    kept = await submit(apps, "note", "kept", wait=0, countdown=4)
    for task in tasks:
        assert (await revoke(apps, task["id"]))["revoking"] is True
    states = [(await state_of(apps, task["id"]))["state"] for task in tasks]
    assert states == ["PENDING"] * 20
    await lasting_deployment.rest()  # what its workers remember is gone
    async with lasting_deployment.worker(*WORKER):
        for task in tasks:
            told = await state_of(apps, task["id"], "?wait=20")
            assert (told["state"], told["error"]["type"]) == ("REVOKED", "TaskRevokedError")
        assert (await state_of(apps, kept["id"], "?wait=20"))["result"] == "kept"

    assert lasting_deployment.runs == ["kept"]


async def test_an_id_that_nobody_knows_is_revoked_without_a_record(
    apps: Gateway, lasting_deployment: Lasting
):
    await lasting_deployment.rest()  # one of Celery 5.7 makes a record of its own
    made_up = str(uuid.uuid4())

    assert await revoke(apps, made_up) == {"id": made_up, "state": "PENDING", "revoking": True}
    assert not lasting_deployment.redis.exists(f"celery-task-meta-{made_up}")
    async with apps.get(f"/v1/tasks/{made_up}") as answer:
        assert (await answer.json())["code"] == "unknown-task-id"


async def test_a_running_task_can_be_terminated(lasting_deployment: Lasting, apps: Gateway):
    async with lasting_deployment.worker("prefork", "-Q", "celery,feeds", concurrency=1):
        task = await submit(apps, "slow", 600, wait=0)
        await eventually(
            lambda: lasting_deployment.record(task["id"]).get("status") == "STARTED", 20
        )
        assert await revoke(apps, task["id"]) == {
            "id": task["id"], "state": "STARTED", "terminating": False,
        }  # fmt: skip
        told = await revoke(apps, task["id"], "?terminate=true")
        assert told == {"id": task["id"], "state": "STARTED", "terminating": True}
        assert (await state_of(apps, task["id"], "?wait=20"))["state"] == "REVOKED"


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as running:
        yield running


@pytest.mark.parametrize(
    ("task", "args", "state"), [("add", [1, 2], "SUCCESS"), ("fail", ["no"], "FAILURE")]
)
async def test_the_end_of_a_stock_workers_task_is_posted(
    apps: Gateway, receiver: Receiver, task: str, args: list[Any], state: str
):
    told = await submit(apps, task, *args, wait=0, callback_url=receiver.url())

    call = await receiver.called(told["id"])
    assert (call.json["state"], call.json["id"]) == (state, told["id"])


async def test_many_and_composed_tasks_have_callbacks(apps: Gateway, receiver: Receiver):
    url = receiver.url()
    lines = [{"task": "proj.add", "args": [n], "options": {"callback_url": url}} for n in range(5)]
    async with apps.post("/v1/tasks/bulk", json=lines) as answer:
        ids = [outcome["id"] for outcome in await answer.json()]
    step = {"task": "proj.add", "args": [1], "options": {"callback_url": url}}
    async with apps.post("/v1/canvas", json={"chain": [{**step, "args": [1, 2]}, step]}) as answer:
        ids += (await answer.json())["ids"]

    assert len(ids) == 7
    for task_id in ids:
        assert (await receiver.called(task_id)).json["state"] == "SUCCESS"


async def test_a_callback_outlives_the_gateway(
    apps: Gateway, config: GatewayConfig, receiver: Receiver, lasting_deployment: Lasting
):
    await lasting_deployment.rest()
    waiting = await submit(apps, "add", 1, wait=0, callback_url=receiver.url())
    revoked = await submit(apps, "add", 1, wait=0, callback_url=receiver.url(), countdown=1)
    await revoke(apps, revoked["id"])
    await apps.close()
    async with lasting_deployment.worker(*WORKER):
        await lasting_deployment.ended(waiting["id"])
        async with running_gateway(config):
            assert (await receiver.called(waiting["id"])).json["state"] == "SUCCESS"
            assert (await receiver.called(revoked["id"])).json["state"] == "REVOKED"
            redis = lasting_deployment.redis
            await eventually(lambda: not redis.zcard("penstock:outstanding"), 20)


async def test_no_callback_is_promised_where_nobody_tells_the_end(apps: Gateway):
    options = {"callback_url": "http://127.0.0.1/", "ignore_result": True}
    async with apps.post("/v1/tasks", json={"task": "proj.add", "options": options}) as answer:
        problem = await answer.json()

    assert answer.status == 400
    assert problem["errors"][0]["at"] == "$.options.callback_url"
