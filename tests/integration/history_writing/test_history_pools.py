"""Tasks on real workers: every change is kept, and what the failed ones were asked with."""

import json
from dataclasses import replace

import pytest

from penstock.wire.headers import TENANT_HEADER, UNKEPT_HEADER
from tests.integration.history_writing.conftest import writing_history
from tests.support.waiting import eventually

BIG = 12345678901234567890123
FOLLOWS = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


@pytest.fixture
async def pooled(lasting_deployment, config):
    """A history of that deployment."""
    await lasting_deployment.clear()
    async with writing_history(replace(config, redis_url=lasting_deployment.redis_url)) as writing:
        yield writing


def failing(deployment, args, kwargs=None, **headers):
    """Publish a task that fails."""
    raw = json.dumps([args, kwargs or {}, FOLLOWS]).encode()
    return deployment.publish("demo.permanent", raw=raw, **headers)


@pytest.mark.parametrize("pool", ["prefork", "asyncio", "threads"])
async def test_every_end_and_what_failed_was_asked_with(pool, lasting_deployment, pooled, kept):
    deployment = lasting_deployment
    async with deployment.worker(pool, name=pool):
        good = deployment.publish("demo.run", [pool])
        child = deployment.publish(
            "demo.doze", [pool, 0], extra={TENANT_HEADER: "acme"}, root_id=good, parent_id=good
        )
        bad = failing(
            deployment,
            [f"no {BIG}", 1.5, BIG],
            extra={TENANT_HEADER: "acme", "colour": "red"},
            timelimit=[60, 50],
        )
        tried = deployment.publish("demo.hopeless", ["away"])

        task = await kept.until(good, state="SUCCESS", queue="default", tenant=None)
        assert [change["state"] for change in task["changes"]] == ["STARTED", "SUCCESS"]
        assert task["worker"].startswith(f"{pool}@")
        assert task["runtime_s"] >= 0
        await kept.until(child, state="SUCCESS", tenant="acme", root=good, parent=good)
        await kept.until(bad, state="FAILURE", tenant="acme", queue="default")
        request = await kept.request(bad)
        assert json.loads(request["args"]) == [f"no {BIG}", 1.5, BIG]
        assert request["kwargs"] == "{}"
        assert request["embed"] == ""
        assert request["options"] == {
            "queue": "default", "exchange": "tasks", "routing_key": "default",
            "time_limit": 60, "soft_time_limit": 50, "headers": {"colour": "red"},
        }  # fmt: skip
        task = await kept.until(tried, 20, state="FAILURE", retries=1)
        states = [change["state"] for change in task["changes"]]
        assert states == ["STARTED", "RETRY", "STARTED", "FAILURE"]
        await check_children(deployment, kept, "demo.start")
        if pool == "asyncio":
            await check_children(deployment, kept, "demo.start_async")


async def check_children(deployment, kept, name):
    """What a task starts is there while it waits."""
    parent = deployment.publish(name, [2, 600], extra={TENANT_HEADER: "acme"})

    async def waiting():
        found = [one async for one in kept.database["tasks"].find({"parent": parent})]
        assert len(found) == 2, found
        return found

    for one in await eventually(waiting, 15):
        assert one["state"] == "PENDING"
        assert (one["task"], one["tenant"], one["root"]) == ("demo.run", "acme", parent)
        assert 590 < (one["due_at"] - one["accepted_at"]).total_seconds() <= 600.1


async def test_what_must_not_be_kept_is_not(lasting_deployment, pooled, kept):
    deployment = lasting_deployment
    async with deployment.worker("threads", name="threads"):
        masked = failing(deployment, [{"a": [{"API_key": [1, 2]}]}], {"db_Password": 7, "x": 1.50})
        large = failing(deployment, ["x" * 70_000])
        unkept = failing(deployment, ["secret"], extra={UNKEPT_HEADER: True})
        last = failing(deployment, ["last"])

        await kept.request(last)
        request = await kept.request(masked)
        assert json.loads(request["args"]) == [{"a": [{"API_key": "***"}]}]
        assert request["kwargs"] == '{"db_Password":7,"x":1.5}'
        assert (await kept.task(masked))["masked"] is True
        await kept.until(large, state="FAILURE", too_large=True)
        await kept.until(unkept, state="FAILURE")
        assert "request" not in await kept.task(large)
        assert "request" not in await kept.task(unkept)


@pytest.mark.long
async def test_a_task_that_kills_its_processes_is_kept_with_what_it_was_asked_with(
    lasting_deployment, pooled, kept
):
    deployment = lasting_deployment
    async with deployment.worker("prefork", name="prefork"):
        task_id = deployment.publish("demo.end_process", ["mark", "exit"])

        task = await kept.until(task_id, 60, state="FAILURE")
        assert task["error"]["type"] == "WorkerLost"
        assert json.loads((await kept.request(task_id))["args"]) == ["mark", "exit"]
