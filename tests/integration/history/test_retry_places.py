"""POST /v1/tasks/retry: each task goes back to where it was taken from, as that queue takes it."""

from typing import Any

import pytest

from gateway.api import parts
from tests.deployment.workers import Deployment
from tests.integration.history.test_many_at_once import again, call
from tests.support.history_documents import failed
from tests.support.waiting import eventually

SMALL = """
[exchanges.tasks]
type = "direct"
publishable = true
[queues.small]
limit = 2
bindings = [{ exchange = "tasks", key = "small" }]
[queues.ranked]
type = "classic"
max_priority = 9
bindings = [{ exchange = "tasks", key = "ranked" }]
[[routes]]
task = "demo.*"
exchange = "tasks"
routing_key = "small"
"""


@pytest.fixture
def deployment(amqp_url, redis_url, tmp_path):
    return Deployment(amqp_url=amqp_url, redis_url=redis_url, folder=tmp_path)


def task(task_id: str, **options: Any) -> dict[str, Any]:
    """A task that failed, with how it was published."""
    request = {"args": '["n", 0]', "kwargs": "{}", "embed": "", "options": options}
    return failed(task_id, "[]", task="demo.doze", tenant="acme", request=request)


@pytest.mark.bare_vhost
async def test_a_priority_is_that_of_the_queue_it_goes_back_to(
    make_gateway, deployment, history, tmp_path
):
    path = tmp_path / "small.toml"
    path.write_text(SMALL + '[queues.plain]\ntype = "classic"\n')
    gateway = await make_gateway(topology_file=path, **history.fields)
    ranked = {"five": 5, "stock": 0, "highest": 200}
    plain = {"ignored": 5, "none": 0}
    await history.database.tasks.insert_many(
        [task(name, queue="ranked", priority=one) for name, one in ranked.items()]
        + [task(name, queue="plain", priority=one) for name, one in plain.items()]
    )
    found = await again(gateway, ids=[*ranked, *plain])

    assert (found["done"], found["failed"]) == (5, 0), found
    taken = {queue: [deployment.take(queue) for _ in range(count)]
             for queue, count in {"ranked": 3, "plain": 2}.items()}  # fmt: skip
    priorities = {
        one.headers["x-penstock-retried-from"]: one.properties.get("priority") or 0
        for messages in taken.values()
        for one in messages
    }
    assert priorities == {"five": 5, "stock": 0, "highest": 9, "ignored": 0, "none": 0}
    assert [one.headers["x-penstock-retried-from"] for one in taken["ranked"]][:2] == [
        "highest",
        "five",
    ]


@pytest.mark.bare_vhost
async def test_room_is_asked_of_the_queue_it_goes_back_to(
    make_gateway, deployment, history, tmp_path
):
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    gateway = await make_gateway(topology_file=path, **history.fields)
    await history.database.tasks.insert_one(task("old", queue="ranked"))
    for _ in range(2):
        await call(gateway, "POST", "/v1/tasks", {"task": "demo.doze", "args": ["n", 0]})
    await eventually(lambda: gateway.app[parts.BROKER].depths.full("small"))
    found = await again(gateway, ids=["old"])

    assert (found["done"], found["failed"]) == (1, 0)
    assert deployment.depth("ranked") == 1
