"""A paused queue on real workers of every pool: nothing of it starts, restarts included."""

from typing import Any

import pytest

from penstock.wire.announcements import WORKERS_KEY, decode_worker
from tests.deployment.workers import Deployment
from tests.support.waiting import eventually

POOLS = ("threads", "prefork", "asyncio")


@pytest.fixture
def deployment(amqp_url, redis_url, tmp_path):
    return Deployment(amqp_url=amqp_url, redis_url=redis_url, folder=tmp_path)


async def post(gateway: Any, path: str, body: Any = None) -> Any:
    async with gateway.post(path, json=body) as response:
        answer = await response.json()
        assert response.status < 300, answer
        return answer


async def submit(gateway: Any, task: str, *args: Any, **options: Any) -> str:
    body = {"task": task, "args": list(args), "options": options}
    return str((await post(gateway, "/v1/tasks", body))["id"])


async def paused(gateway: Any) -> dict[str, Any]:
    async with gateway.get("/v1/queues") as response:
        rows = (await response.json())["queues"]
        return {row["name"]: row["paused"] for row in rows if row["paused"]}


async def waits_since(gateway: Any, queue: str) -> bool:
    async with gateway.get(f"/v1/queues?name={queue}") as response:
        [row] = (await response.json())["queues"]
        return "oldest_s" in row


def consumers(deployment: Deployment) -> list[str]:
    found = [decode_worker(one) for one in deployment.redis.hvals(WORKERS_KEY)]
    return sorted({queue for one in found if one.consuming for queue in one.queues})


@pytest.mark.parametrize("pool", POOLS)
async def test_nothing_of_a_paused_queue_starts_until_it_is_resumed(gateway, deployment, pool):
    quick: tuple[Any, ...] = ("demo.doze", 0) if pool == "asyncio" else ("demo.run",)
    marks = [f"waits {n}" for n in range(6)]
    # Both slots are taken, so that what follows is prefetched and waits.
    async with deployment.worker(pool, "-Q", "default,high_priority"):
        long = [await submit(gateway, "demo.doze", f"long {n}", 2) for n in range(2)]
        await eventually(lambda: len(deployment.runs) == 2)
        ids = [await submit(gateway, quick[0], mark, *quick[1:]) for mark in marks]
        answer = await post(gateway, "/v1/queues/default/pause")
        assert answer == {"queue": "default", "paused": True}
        assert await paused(gateway) == {"default": True}
        for task_id in long:  # what runs ends
            assert (await deployment.ended(task_id))["status"] == "SUCCESS"
        # Its slots are free for other queues.
        for n in range(4):
            other = await submit(gateway, quick[0], f"other {n}", *quick[1:], queue="high_priority")
            assert (await deployment.ended(other))["status"] == "SUCCESS"
        await eventually(lambda: consumers(deployment) == ["high_priority"], timeout_s=15)
        # A revoked one never starts either.
        async with gateway.delete(f"/v1/tasks/{ids[0]}") as response:
            assert response.status == 202

    async with deployment.worker(pool, "-Q", "default,high_priority", name="second"):
        assert consumers(deployment) == ["high_priority"]
        last = await submit(gateway, quick[0], "last", *quick[1:], queue="high_priority")
        await deployment.ended(last)
        assert not [run for run in deployment.runs if run.startswith("waits")]

        await post(gateway, "/v1/queues/default/resume")
        for task_id in ids[1:]:
            assert (await deployment.ended(task_id))["status"] == "SUCCESS"
        runs = [run.removesuffix(" begins") for run in deployment.runs if not run.endswith(" ends")]
        assert sorted(run for run in runs if run.startswith("waits")) == marks[1:]
        assert await paused(gateway) == {}


@pytest.mark.parametrize("pool", POOLS)
async def test_what_was_prefetched_is_held_and_not_requeued(gateway, deployment, pool):
    quick: tuple[Any, ...] = ("demo.doze", 0) if pool == "asyncio" else ("demo.run",)
    async with deployment.worker(pool, "-Q", "default,high_priority", "--prefetch-multiplier=4"):
        for n in range(2):
            await submit(gateway, "demo.doze", f"long {n}", 2)
        await eventually(lambda: len(deployment.runs) == 2)
        held = [await submit(gateway, quick[0], f"held {n}", *quick[1:]) for n in range(2)]
        await eventually(lambda: deployment.depth("default") == 0)
        await post(gateway, "/v1/queues/default/pause")
        await eventually(lambda: consumers(deployment) == ["high_priority"], timeout_s=15)
        await eventually(lambda: len(deployment.runs) == 4)  # the long ones have ended

        later = await submit(gateway, quick[0], "later", *quick[1:])
        other = await submit(gateway, quick[0], "other", *quick[1:], queue="high_priority")
        await deployment.ended(other)
        assert deployment.depth("default") == 1  # the two that are held did not come back
        await eventually(lambda: waits_since(gateway, "default"), timeout_s=10)
        await post(gateway, "/v1/queues/default/resume")
        for task_id in (*held, later):
            assert (await deployment.ended(task_id))["status"] == "SUCCESS"
        assert len([run for run in deployment.runs if run.startswith("held")]) in {2, 4}
