"""One line in an application of stock Celery: what its tasks gain, and what stays as it was."""

import json
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, chain, chord, group
from kombu import pools
from kombu.entity import Exchange, Queue

from bench.peers import install, python_of
from penstock.wire.announcements import CATALOG_KEY, decode_worker
from penstock.wire.keys import TaskKeys
from tests.deployment.lasting import Lasting
from tests.support.waiting import eventually

OLDER = [("5.4", "prefork"), ("5.5", "prefork"), ("5.5", "asyncio"), ("5.6", "asyncio")]
pytestmark = pytest.mark.parametrize(
    ("when", "pool", "version"),
    [
        pytest.param("early", "prefork", "5.7", marks=pytest.mark.long),
        ("late", "prefork", "5.7"),
        ("late", "asyncio", "5.7"),
        *(pytest.param("late", pool, version, marks=pytest.mark.long) for version, pool in OLDER),
    ],
    scope="module",
)


@pytest.fixture
async def app(
    lasting_deployment: Lasting, when: str, pool: str, version: str
) -> AsyncIterator[Lasting]:
    deployment = lasting_deployment
    deployment.app = "tests.apps.installed_app"
    if version != "5.7":
        install(f"celery-{version}")
        python = python_of(f"celery-{version}")
    else:
        python = Path(sys.executable)
    if (deployment.env.get("INSTALL"), deployment.python) != (when, python):
        await deployment.forget()
    deployment.python = python
    deployment.env = {"INSTALL": when}
    await deployment.clear()
    async with deployment.worker(pool, name="installed"):
        yield deployment


@pytest.fixture
def client(app: Lasting) -> Any:
    """The application as another program has it: without the library."""
    with Celery("client", broker=app.amqp_url, backend=app.redis_url, set_as_current=False) as made:
        made.conf.task_default_queue = "installed"
        made.conf.task_queues = [
            Queue("installed"),
            Queue(
                "topical",
                Exchange("topical", type="topic"),
                routing_key="topical.#",
                max_priority=9,
            ),
        ]
        yield made
        made.backend.result_consumer.stop()  # or its connections are found unclosed
        made.backend.client.connection_pool.disconnect()
        pools.reset()


def publish(app: Lasting, task: str, *args: Any, **options: Any) -> str:
    where = {"exchange": "", "routing_key": "installed", **options}
    return app.publish(f"installed.{task}", args, **where)


async def test_started_has_a_time_and_a_worker(app: Lasting):
    task_id = publish(app, "add", 2, 3)

    record = await app.ended(task_id)
    assert (record["status"], record["result"]) == ("SUCCESS", 5)
    assert record["worker"].startswith("installed@")
    assert record["started_at"] < record["date_done"]
    assert app.states(task_id) == ["STARTED", "SUCCESS"]


@pytest.mark.parametrize("task", ["report", "report_async"])
async def test_progress_and_lines_are_pushed(app: Lasting, task: str):
    task_id = publish(app, task, 2)

    assert (await app.ended(task_id))["status"] == "SUCCESS"
    events = app.events(task_id)
    assert [one["result"]["current"] for one in events if one.get("status") == "PROGRESS"] == [1, 2]
    assert [one["log"]["line"] for one in events if "log" in one] == ["done"]


@pytest.mark.parametrize("bytes_more", [1, 9 << 20])
@pytest.mark.parametrize("task", ["odd", "odd_async"])
async def test_a_result_that_celery_stores_is_stored(app: Lasting, task: str, bytes_more: int):
    task_id = publish(app, task, bytes_more)

    record = await app.ended(task_id)
    assert record["status"] == "SUCCESS", record["result"]
    not_a_number, infinite, text = record["result"]
    assert (repr(not_a_number), infinite, len(text)) == ("nan", float("inf"), bytes_more)
    assert app.states(task_id) == ["STARTED", "SUCCESS"]


async def test_what_was_revoked_never_runs(app: Lasting):
    task_id = str(uuid.uuid4())
    app.redis.set(TaskKeys.of(task_id).revoked, "asked")

    publish(app, "add", 1, task_id=task_id)

    assert (await app.ended(task_id))["status"] == "REVOKED"
    assert app.runs == []


async def test_a_running_task_that_is_revoked_without_terminate_ends_as_it_ends(
    app: Lasting, client: Any
):
    task_id = publish(app, "sleep", 2)
    await eventually(lambda: app.record(task_id).get("status") == "STARTED")

    client.control.revoke(task_id, reply=True, timeout=1)

    assert (await app.ended(task_id))["status"] == "SUCCESS"
    assert app.states(task_id) == ["STARTED", "SUCCESS"]


async def test_errors_have_their_true_text(app: Lasting):
    record = await app.ended(publish(app, "fail"))

    assert record["status"] == "FAILURE"
    assert record["result"]["exc_type"] == "OddError"
    assert record["result"]["exc_message"] == ["one and two"]


async def test_retries_go_on(app: Lasting):
    record = await app.ended(publish(app, "flaky", 2))

    assert record["result"] == 2
    assert app.runs == ["flaky 0", "flaky 1", "flaky 2"]


async def test_a_retry_takes_the_route_of_the_application(app: Lasting):
    task_id = publish(app, "topical", exchange="topical", routing_key="topical.other")

    assert (await app.ended(task_id))["result"] == "topical.other"
    assert app.runs == ["topical 0", "topical 1"]


async def test_an_errback_of_three_parameters_has_an_end(app: Lasting):
    errback_id = str(uuid.uuid4())
    errback = {
        "task": "installed.errback", "args": [], "kwargs": {}, "immutable": False,
        "options": {"task_id": errback_id}, "subtask_type": None,
    }  # fmt: skip
    task_id = publish(app, "fail", embed={"errbacks": [errback]})

    assert (await app.ended(errback_id))["result"] == "one and two"
    assert app.runs == [f"errback {task_id}"]


async def test_hooks_of_the_author_are_called(app: Lasting):
    assert (await app.ended(publish(app, "hooked")))["result"] == "hooked"
    await eventually(lambda: app.runs == ["on_success hooked"])


async def test_tasks_and_worker_are_announced(app: Lasting):
    found = [json.loads(one) for one in app.redis.hvals(CATALOG_KEY)]
    entry = next(one for one in found if one["task"] == "installed.add")
    assert [one["schema"] for one in entry["params"]] == [{"type": "integer"}] * 2
    assert entry["doc"] == "Add two integers."

    (worker,) = [decode_worker(one) for one in app.redis.hvals("penstock:workers")]
    assert set(worker.queues) == {"installed", "topical"}
    assert worker.consuming


async def test_a_client_without_the_library_notices_nothing(app: Lasting, client: Any):
    add = client.signature("installed.add")

    assert client.send_task("installed.add", (1, 2)).get(timeout=20) == 3
    assert chain(add.clone((1, 2)), add.clone((3,)), app=client)().get(timeout=20) == 6
    assert group([add.clone((1, one)) for one in range(3)], app=client)().get(timeout=20) == [
        1,
        2,
        3,
    ]
    total = client.signature("installed.add", args=(5,), immutable=True)
    assert chord([add.clone((1,)), add.clone((2,))], app=client)(total).get(timeout=20) == 6
    with pytest.raises(Exception, match="one and two"):
        client.send_task("installed.fail").get(timeout=20)


async def test_a_worker_without_the_library_shares_its_queues(app: Lasting, client: Any):
    stock = app.make_worker("threads", name="stock", concurrency=1, app="tests.apps.installed_app")
    stock.child.env["INSTALL"] = "no"
    try:
        await stock.start()
        results = [client.send_task("installed.add", (one,)) for one in range(40)]

        assert [one.get(timeout=20) for one in results] == list(range(1, 41))
        kinds = {"started_at" in app.record(one.id) for one in results}
        assert kinds == {True, False}  # some ran on each
    finally:
        await stock.child.stop(10)


async def test_protocol_1_is_executed(app: Lasting, client: Any):
    client.conf.task_protocol = 1

    assert client.send_task("installed.add", (1, 2)).get(timeout=20) == 3
