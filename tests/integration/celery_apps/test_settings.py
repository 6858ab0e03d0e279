"""A Celery app with settings of its own: a key prefix, pickled and extended results."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from kombu import pools

from tests.deployment.gateway import Gateway, running_gateway
from tests.deployment.lasting import Lasting
from tests.support.waiting import eventually

SETTINGS = {
    "result_backend_transport_options": {"global_keyprefix": "shop"},
    "result_extended": True,
    "result_serializer": "pickle",
    "accept_content": ["json"],
    "result_accept_content": ["pickle", "json"],
}
DEPLOYMENT = {"app": "tests.apps.stock_app", "env": {"STOCK_CONFIG": json.dumps(SETTINGS)}}
LAYOUT = """
extends = "default"
[queues.celery]
owner = "app"
[[routes]]
task = "proj.*"
exchange = ""
routing_key = "celery"
"""


@pytest.fixture
async def apps(lasting_deployment: Lasting, tmp_path: Path) -> AsyncIterator[Gateway]:
    """A gateway that knows the prefix, and the app's worker."""
    layout = tmp_path / "layout.toml"
    layout.write_text(LAYOUT)
    await lasting_deployment.clear()
    async with (
        lasting_deployment.worker("threads", "-Q", "celery"),
        running_gateway(
            amqp_url=lasting_deployment.amqp_url,
            redis_url=lasting_deployment.redis_url,
            topology_file=layout,
            result_key_prefix="shop",
        ) as gateway,
    ):
        yield gateway


async def submit(gateway: Gateway, task: str, *args: Any, query: str = "?wait=20") -> Any:
    body = {"task": f"proj.{task}", "args": list(args)}
    async with gateway.post(f"/v1/tasks{query}", json=body) as answer:
        return await answer.json()


async def test_a_pickled_result_is_absent_and_its_state_is_known(
    apps: Gateway, lasting_deployment: Lasting
):
    told = await submit(apps, "add", 1, 2)

    assert lasting_deployment.redis.exists(f"shop_celery-task-meta-{told['id']}")
    assert (told["state"], told["task"], told["retries"]) == ("SUCCESS", "proj.add", 0)
    assert told["worker"].startswith("w@")
    assert "result" not in told
    assert "pickle" in told["result_absent"]
    async with apps.get(f"/v1/tasks/{told['id']}/result") as answer:
        assert (answer.status, (await answer.json())["code"]) == (406, "not-acceptable")
    async with apps.get(f"/v1/tasks/{told['id']}/stream") as stream:
        assert '"state":"SUCCESS"' in await stream.text()
    async with apps.delete(f"/v1/tasks/{told['id']}") as answer:
        assert (answer.status, (await answer.json())["code"]) == (409, "already-ended")


async def test_a_pickled_error_is_told(apps: Gateway):
    told = await submit(apps, "fail", "why")

    assert (told["state"], told["error"]["type"], told["error"]["message"]) == (
        "FAILURE", "ValueError", "why",
    )  # fmt: skip


async def test_a_task_of_the_apps_own_client_is_read_by_admin(
    apps: Gateway, lasting_deployment: Lasting
):
    client = Celery("c", broker=lasting_deployment.amqp_url, set_as_current=False)
    with client:
        sent = await asyncio.to_thread(
            client.send_task, "proj.add", [2, 2], queue="celery", ignore_result=False
        )
    pools.reset()

    async def ended() -> bool:
        async with apps.get(f"/v1/tasks/{sent.id}") as answer:
            return (await answer.json()).get("state") == "SUCCESS"

    await eventually(ended, timeout_s=20)


async def test_a_group_joins_under_the_prefix(apps: Gateway):
    chord = {
        "chord": {
            "header": [{"task": "proj.add", "args": [n, 1]} for n in range(3)],
            "body": {"task": "proj.total"},
        }
    }
    async with apps.post("/v1/canvas?wait=20", json=chord) as answer:
        told = await answer.json()

    assert told["state"] == "SUCCESS", told
