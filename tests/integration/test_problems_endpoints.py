"""A worker is killed under a task: problems, their metric and scaling, until it is mended."""

from typing import Any

import pytest

from tests.deployment.workers import Deployment
from tests.waiting import eventually


@pytest.fixture
def deployment(amqp_url, redis_url, tmp_path):
    return Deployment(amqp_url=amqp_url, redis_url=redis_url, folder=tmp_path)


async def found(gateway: Any) -> dict[str, str]:
    async with gateway.get("/v1/problems") as response:
        assert response.status == 200
        return {one["code"]: one["subject"] for one in (await response.json())["problems"]}


async def scaling(gateway: Any, query: str = "") -> dict[str, Any]:
    async with gateway.get(f"/v1/scaling/default{query}") as response:
        assert response.status == 200
        answer: dict[str, Any] = await response.json()
        return answer


@pytest.mark.timeout(180)
async def test_a_killed_worker_its_task_and_its_queue_are_problems_until_another_starts(
    gateway, deployment
):
    assert await found(gateway) == {}
    async with deployment.worker("threads") as worker:
        async with gateway.post("/v1/tasks", json={"task": "demo.doze", "args": ["d", 1]}) as sent:
            assert sent.status == 202
        async with gateway.post("/v1/tasks", json={"task": "demo.nap", "args": ["n", 90]}) as sent:
            task_id = (await sent.json())["id"]

        async def runs() -> bool:
            return (await scaling(gateway))["running"] == 1

        await eventually(runs, 30, 0.2)
        assert (await scaling(gateway))["wanted"] == 1
        assert await found(gateway) == {}
        await worker.kill()

    async def all_seen() -> bool:
        return len(await found(gateway)) == 3

    await eventually(all_seen, 60, 0.5)
    name = next(name for code, name in (await found(gateway)).items() if code == "worker-silent")
    assert await found(gateway) == {
        "worker-silent": name, "task-stuck": task_id, "queue-without-worker": "default",
    }  # fmt: skip
    assert name.startswith("w@")
    async with gateway.get("/metrics") as response:
        text = await response.text()
    assert 'penstock_problem{code="queue-without-worker",subject="default"} 1.0' in text
    figures = await scaling(gateway, "?target_s=10")
    assert (figures["backlog"], figures["running"], figures["wanted"]) == (1, 0, 1)
    assert figures["due_60s"] == 0

    async with gateway.delete(f"/v1/tasks/{task_id}") as response:
        assert response.status == 202
    async with deployment.worker("threads"):

        async def mended() -> bool:
            return await found(gateway) == {}

        await eventually(mended, 40, 0.5)


async def test_figures_are_of_queues_that_exist_and_for_times_that_make_sense(gateway):
    for path, code in (
        ("none", "unknown-queue"),
        ("default?target_s=0", "invalid-request"),
        ("default?target=1", "invalid-request"),
    ):
        async with gateway.get(f"/v1/scaling/{path}") as response:
            assert (await response.json())["code"] == code
