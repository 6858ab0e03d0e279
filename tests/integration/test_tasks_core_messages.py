"""Which message is executed where and when, and which becomes a dead letter, on both pools."""

import json
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from tests.deployment.lasting import Lasting
from tests.deployment.workers import Deployment
from tests.support.waiting import eventually

pytestmark = pytest.mark.parametrize("pool", ["threads", "prefork", "asyncio"], scope="module")

POISON: dict[str, dict[str, Any]] = {
    "not JSON": {"raw": b"{nonsense"},
    "a number": {"raw": b"5"},
    "null": {"raw": b"null"},
    "too short": {"raw": b"[1]"},
    "no id": {"without": ("id",)},
    "no task": {"without": ("task",)},
    "an object": {"raw": b'{"x": 1}'},
    "arguments that are no list": {"raw": b"[5, {}, {}]"},
    "keyword arguments that are no object": {"raw": b"[[], 5, {}]"},
    "options that are no object": {"raw": b"[[], {}, 5]"},
    "an unknown task": {"task": "demo.unheard"},
    "a task that is a list": {"task": ["demo.add"]},
    "limits that are no pair": {"timelimit": 5},
    "retries that are no number": {"retries": "many"},
    "an eta that is no time": {"eta": "soon"},
    "an id that is no text": {"id": 5},
}


@pytest.fixture
async def deployment(lasting_deployment: Lasting) -> Lasting:
    await lasting_deployment.clear()
    return lasting_deployment


async def test_poison_becomes_a_dead_letter_and_the_worker_lives(deployment: Lasting, pool: str):
    async with deployment.worker(pool, "-Q", "high_priority,mongo_queue") as worker:
        for poison in POISON.values():
            deployment.publish(
                **{"task": "demo.add", "args": [1, 2], "routing_key": "high_priority", **poison}
            )
        good = deployment.publish("demo.add", [1, 2], routing_key="high_priority")

        assert (await deployment.ended(good))["result"] == 3
        await eventually(lambda: deployment.depth("high_priority.dead") == len(POISON))
        await eventually(lambda: deployment.depth("dead.outcomes") == len(POISON))
        letter = deployment.take("high_priority.dead")
        assert letter.body in {b"{nonsense", "{nonsense"}
        assert letter.headers["x-death"][0]["reason"] == "rejected"
        assert worker.child.running


async def test_a_retry_comes_back_on_the_queue_that_it_came_from(deployment: Lasting, pool: str):
    async with deployment.worker(pool, "-Q", "high_priority,mongo_queue"):
        begun = time.monotonic()
        direct = deployment.publish("demo.flaky", [2], routing_key="high_priority")
        topic = deployment.publish(
            "demo.flaky", [1], exchange="events", routing_key="documents.readings"
        )
        by_name = deployment.publish("demo.flaky", [1], exchange="", routing_key="high_priority")

        assert (await deployment.ended(by_name))["result"] == 2
        assert (await deployment.ended(topic))["result"] == 2
        record = await deployment.ended(direct)
        assert (record["result"], record["retries"]) == (3, 2)
        assert time.monotonic() - begun >= 2
        assert deployment.states(direct) == ["STARTED", "RETRY"] * 2 + ["STARTED", "SUCCESS"]
        assert deployment.events(direct)[1]["result"]["exc_type"] == "RetryableError"
        assert deployment.depth("default") == 0


async def test_failures_for_good_become_dead_letters(deployment: Lasting, pool: str):
    async with deployment.worker(pool):
        headers = {"x-penstock-tenant": "a"}
        permanent = deployment.publish("demo.permanent", ["never"], extra=headers)
        hopeless = deployment.publish("demo.hopeless", ["not today"])

        record = await deployment.ended(permanent)
        assert (record["status"], record["result"]["exc_type"]) == ("FAILURE", "PermanentError")
        letter = deployment.take("default.dead")
        assert letter.delivery_info["routing_key"] == "default"
        assert json.loads(letter.body)[:2] == [["never"], {}]
        assert letter.headers["id"] == permanent
        assert letter.headers["task"] == "demo.permanent"
        assert letter.headers["x-penstock-tenant"] == "a"
        assert letter.headers["x-penstock-reason"] == "permanent-error"
        assert letter.headers["x-penstock-error"] == "never"
        assert letter.headers["x-penstock-error-type"] == "PermanentError"
        assert letter.headers["x-penstock-traceback"].endswith("PermanentError: never\n")
        assert letter.properties["delivery_mode"] == 2
        record = await deployment.ended(hopeless)
        assert (record["status"], record["retries"]) == ("FAILURE", 1)
        letter = deployment.take("default.dead")
        assert letter.headers["x-penstock-reason"] == "retries-exhausted"
        assert deployment.depth("dead.outcomes") == 2


async def test_what_the_broker_delayed_starts_in_time(deployment: Lasting, pool: str):
    async with deployment.worker(pool):
        delayed = deployment.celery(
            "call", "call", "demo.run", '--args=["delayed"]', "--countdown=2", "--expires=60",
            "--queue=high_priority",
        )  # fmt: skip
        begun = time.time()
        delayed.spawn()
        assert await delayed.wait() == 0
        await eventually(lambda: deployment.runs == ["delayed"], 10)
        assert time.time() - begun >= 2
        task_id = delayed.logged().decode().split()[-1]
        assert (await deployment.ended(task_id))["result"] == "delayed"


async def test_every_worker_executes_a_broadcast(
    amqp_url: str, redis_url: str, tmp_path: Path, pool: str
):
    deployment = Deployment(amqp_url=amqp_url, redis_url=redis_url, folder=tmp_path)
    async with (
        deployment.worker(pool, "-Q", "default", name="one"),
        deployment.worker(pool, "-Q", "scripts", name="two"),
    ):
        deployment.publish(
            "demo.run", ["everywhere"], exchange="broadcast", routing_key="", ignore_result=True
        )
        await eventually(lambda: deployment.runs == ["everywhere"] * 2)
        deployment.publish(
            "demo.late_failure", ["late", 0], exchange="broadcast", routing_key="",
            ignore_result=True,
        )  # fmt: skip
        await eventually(lambda: deployment.runs.count("late again") == 2)
        await eventually(lambda: deployment.depth("broadcast.one@" + socket.gethostname()) == 0)
        last = deployment.publish("demo.flaky", [1])
        assert (await deployment.ended(last))["result"] == 2
        assert deployment.runs.count("late again") == 2  # each worker had its own share again
