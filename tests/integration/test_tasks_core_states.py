"""What a worker stores of its tasks, on both pools."""

import asyncio

import pytest

from penstock.wire.keys import TaskKeys
from tests.deployment.lasting import Lasting
from tests.support.waiting import eventually

pytestmark = pytest.mark.parametrize("pool", ["threads", "prefork", "asyncio"], scope="module")
DEPLOYMENT = {"env": {"MAX_RESULT_BYTES": "100000"}}


@pytest.fixture
async def deployment(lasting_deployment: Lasting) -> Lasting:
    await lasting_deployment.clear()
    return lasting_deployment


async def test_states_are_stored_with_events_and_told_to_those_who_watch(
    deployment: Lasting, pool: str
):
    async with deployment.worker(pool) as worker:
        watching = deployment.redis.pubsub(ignore_subscribe_messages=True)
        task_id = "00000000-0000-7000-8000-000000000001-5a"
        watching.subscribe(f"celery-task-meta-{task_id}")
        await eventually(lambda: watching.subscribed)
        deployment.publish("demo.add", [2, 3], task_id=task_id)
        record = await deployment.ended(task_id)

        assert (record["status"], record["result"]) == ("SUCCESS", 5)
        assert record["name"] == "demo.add"
        assert record["worker"].startswith("w@")
        assert record["retries"] == 0
        assert record["started_at"] <= record["date_done"]
        assert record["traceback"] is None
        assert deployment.states(task_id) == ["STARTED", "SUCCESS"]
        text = str(deployment.redis.get(f"celery-task-meta-{task_id}"))
        cursors = [cursor for cursor, _ in deployment.history(task_id)]
        assert text.startswith(
            f'{{"cursor":"{cursors[1]}","first":"{cursors[0]}","status":"SUCCESS",'
        )
        assert not deployment.redis.exists(TaskKeys.of(task_id).events)
        started = watching.get_message(timeout=1) or watching.get_message(timeout=1)
        finished = watching.get_message(timeout=1)
        assert f'"cursor":"{cursors[0]}"' in started["data"]
        assert finished["data"] == text
        assert deployment.redis.get(TaskKeys.of(task_id).ended) == "SUCCESS"
        week = 7 * 86_400
        assert deployment.redis.ttl(f"celery-task-meta-{task_id}") <= 86_400
        assert 86_400 < deployment.redis.ttl(TaskKeys.of(task_id).ended) <= 86_400 + week
        watching.close()
        assert worker.child.running


async def test_ways_to_go(deployment: Lasting, pool: str):
    async with deployment.worker(pool):
        failed = deployment.publish("demo.fail", ["no"])
        progressing = deployment.publish("demo.progress", [3, 0.01])
        custom = deployment.publish("demo.custom")
        untracked = deployment.publish("demo.run", ["untracked"], ignore_result=True)
        large = deployment.publish("demo.produce", [100_001])
        long = deployment.publish("demo.produce", [70_000])
        nan = deployment.publish("demo.not_a_number")
        chained = deployment.publish(
            "demo.produce",
            [100_001],
            embed={"chain": [{"task": "demo.run", "args": [], "kwargs": {}, "options": {}}]},
        )

        record = await deployment.ended(failed)
        assert record["status"] == "FAILURE"
        assert record["result"] == {
            "exc_type": "RuntimeError", "exc_message": ["no"], "exc_module": "builtins",
            "type": "RuntimeError", "text": "no",
        }  # fmt: skip
        assert "RuntimeError: no" in record["traceback"]
        assert (await deployment.ended(progressing))["result"] == 3
        assert deployment.states(progressing) == ["STARTED", *["PROGRESS"] * 3, "SUCCESS"]
        assert deployment.events(progressing)[2]["result"] == {
            "current": 2, "total": 3, "message": "step 2 of 3"
        }  # fmt: skip
        assert (await deployment.ended(custom))["result"] == 0
        assert deployment.states(custom) == ["STARTED", "DIGGING", *["PROGRESS"] * 2, "SUCCESS"]
        assert {"log": {"stream": "stderr", "line": "a line"}} in deployment.events(custom)
        assert {"log": {"stream": "stdout", "line": "another"}} in deployment.events(custom)
        assert (await deployment.ended(large))["result"]["exc_type"] == "ResultTooLarge"
        assert len((await deployment.ended(long))["result"]) == 70_000
        event = deployment.events(long)[-1]
        assert (event["status"], event["result"], event["truncated"]) == ("SUCCESS", None, True)
        assert (await deployment.ended(nan))["result"]["exc_type"] == "EncodeError"
        assert (await deployment.ended(chained))["result"]["exc_type"] == "ResultTooLarge"
        await eventually(lambda: "untracked" in deployment.runs)
        assert deployment.runs == ["untracked"]  # and nothing of the chain
        assert deployment.record(untracked) == {}
        assert not deployment.redis.exists(TaskKeys.of(untracked).ended)


async def test_the_first_end_stays(deployment: Lasting, pool: str):
    async with deployment.worker(pool):
        task_id = deployment.publish("demo.progress", [10])
        await eventually(lambda: deployment.record(task_id).get("status") == "PROGRESS")
        deployment.redis.set(TaskKeys.of(task_id).ended, "FAILURE")
        told = deployment.events(task_id)
        second = deployment.publish("demo.progress", [12])
        await deployment.ended(second)

        assert len(deployment.events(task_id)) <= len(told) + 1
        assert deployment.record(task_id)["status"] == "PROGRESS"
        assert deployment.redis.get(TaskKeys.of(task_id).ended) == "FAILURE"


async def test_celerys_own_terminate_stops_a_coroutine(deployment: Lasting, pool: str):
    async with deployment.worker(pool):
        running = deployment.publish("demo.doze", ["running", 60])
        await eventually(lambda: "running begins" in deployment.runs)
        control = deployment.celery("control", "control", "terminate", "TERM", running)
        control.spawn()
        await control.wait()
        assert (await deployment.ended(running))["status"] == "REVOKED"
        assert "running cancelled" in deployment.runs


async def test_a_running_task_can_be_terminated(deployment: Lasting, pool: str):
    async with deployment.worker(pool) as worker:
        running = deployment.publish("demo.doze", ["running", 60])
        await eventually(lambda: "running begins" in deployment.runs)
        control = deployment.celery("control", "control", "penstock_terminate", running)
        control.spawn()
        await control.wait()
        assert b"terminating" in control.logged()
        record = await deployment.ended(running)

        assert record["status"] == "REVOKED"
        assert record["result"]["exc_type"] == "TaskRevokedError"
        assert (await deployment.ended(deployment.publish("demo.add", [1, 1])))["result"] == 2
        assert deployment.depth("default") == 0
        assert "running cancelled" in deployment.runs  # it could clean up, on prefork too
        if pool == "threads":
            nap = deployment.publish("demo.nap", ["nap", 8])
            await eventually(lambda: "nap begins" in deployment.runs)
            control = deployment.celery("control2", "control", "penstock_terminate", nap)
            control.spawn()
            await control.wait()
            assert b"not-terminable" in control.logged()
        assert worker.child.running
        await asyncio.to_thread(deployment.redis.ping)
    await deployment.rest()  # ends the nap


async def test_a_delivery_starts_only_when_it_may(deployment: Lasting, pool: str):
    redis = deployment.redis
    async with deployment.worker(pool, concurrency=1):
        redis.set(TaskKeys.of("r-1").revoked, "1")
        deployment.publish("demo.run", ["revoked"], task_id="r-1")
        copies = [
            deployment.publish(
                "demo.run", ["copy"], task_id="c-1", extra={"x-penstock-copy": nonce}
            )
            for nonce in ("one", "two", "one")
        ]
        again = deployment.publish("demo.run", ["first"])
        await deployment.ended(again)
        deployment.publish("demo.run", ["second"], task_id=again)
        deployment.publish("demo.run", ["a late retry"], task_id=again, retries=1)
        redis.set(TaskKeys.of("p-1").ended, "FAILURE")
        deployment.publish(
            "demo.run", ["copy of ended"], task_id="p-1", extra={"x-penstock-copy": "n"}
        )
        deployment.publish("demo.run", ["replay"], task_id="p-1", extra={"x-penstock-replay": 1})
        last = deployment.publish("demo.run", ["last"])
        await deployment.ended(last)

        assert deployment.runs == ["copy", "first", "second", "replay", "last"]
        assert deployment.record("r-1")["status"] == "REVOKED"
        assert deployment.record("r-1")["result"]["exc_type"] == "TaskRevokedError"
        assert redis.get(TaskKeys.of("r-1").ended) == "REVOKED"
        assert deployment.states("r-1") == ["REVOKED"]
        assert deployment.states("c-1") == ["STARTED", "SUCCESS"]
        assert redis.get(TaskKeys.of("c-1").copy) == "one"
        assert redis.get(TaskKeys.of("p-1").ended) == "SUCCESS"
        assert len(set(copies)) == 1


async def test_coroutines_end_at_their_limits(deployment: Lasting, pool: str):
    async with deployment.worker(pool, concurrency=1):
        soft = deployment.publish("demo.doze", ["soft", 60], timelimit=[5, 0.2])
        hard = deployment.publish("demo.doze", ["hard", 60], timelimit=[0.2, None])
        own = deployment.publish("demo.limited", ["own", 60])
        slow = deployment.publish("demo.stubborn", ["slow", 60], timelimit=[0.4, 0.2])
        after = deployment.publish("demo.run", ["after"])

        assert (await deployment.ended(soft))["result"]["exc_type"] == "SoftTimeLimitExceeded"
        assert (await deployment.ended(hard))["result"]["exc_type"] == "TimeLimitExceeded"
        assert (await deployment.ended(own))["result"]["exc_type"] == "SoftTimeLimitExceeded"
        assert (await deployment.ended(slow))["result"]["exc_type"] == "TimeLimitExceeded"
        await deployment.ended(after)
        assert deployment.runs == [
            "soft begins", "soft cancelled", "hard begins", "hard cancelled",
            "own begins", "own cancelled", "slow cleans up", "after",
        ]  # fmt: skip


async def test_a_redelivery_of_what_has_ended_is_not_executed(deployment: Lasting, pool: str):
    redis = deployment.redis
    await deployment.rest()
    redis.set(TaskKeys.of("d-1").ended, "FAILURE")
    redis.set(TaskKeys.of("d-2").ended, "SUCCESS")
    redis.set(TaskKeys.of("d-3").ended, "FAILURE")
    redis.set("celery-task-meta-d-4", '{"status": "SUCCESS", "result": 1}')  # a stock worker's
    redis.set("celery-task-meta-d-5", '{"cursor":"1-0","status":"STARTED","result":null}')
    replay = {"x-penstock-replay": 1}
    for task_id, extra in (("d-1", {}), ("d-2", replay), ("d-3", replay), ("d-4", {}), ("d-5", {})):
        deployment.publish("demo.run", [task_id], task_id=task_id, extra=extra)
    await eventually(lambda: deployment.depth("default") == 5)
    deployment.put_back("default")

    async with deployment.worker(pool, concurrency=1):
        await deployment.ended(deployment.publish("demo.run", ["last"]))
        assert sorted(deployment.runs) == ["d-3", "d-5", "last"]
