"""Tasks that call themselves, their base or each other, on each pool."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.deployment.lasting import Lasting
from tests.support.waiting import eventually

DEPLOYMENT = {"app": "tests.apps.calling_app"}
pytestmark = pytest.mark.parametrize("pool", ["asyncio", "threads", "prefork"], scope="module")


@pytest.fixture
async def deployment(lasting_deployment: Lasting, pool: str) -> AsyncIterator[Lasting]:
    await lasting_deployment.clear()
    async with lasting_deployment.worker(pool, "-Q", "default", name="calling"):
        yield lasting_deployment


@pytest.mark.parametrize(
    ("task", "args", "result"),
    [
        ("itself", [5], 5),
        ("at_once", [3], 8),
        ("own_run", [5], 5),
        ("own_run_elsewhere", [3], 3),
        ("derived", [5], 11),
        ("eager", [6], 6),
        ("eager_limited", [], True),
        ("from_function", [3], 3),
        ("another_loop", [2], 2),
        ("bridged", [3], 3),
        ("handed_on", [3], 3),
    ],
)
async def test_a_coroutine_that_calls_a_task_awaits_it(
    deployment: Lasting, task: str, args: list[Any], result: Any
):
    first = deployment.publish(f"calling.{task}", args)
    record = await deployment.ended(first)
    assert (record["status"], record["result"]) == ("SUCCESS", result), record

    after = await deployment.ended(deployment.publish("calling.itself", [1]))
    assert (after["status"], after["result"]) == ("SUCCESS", 1)


@pytest.mark.parametrize(
    ("task", "how"), [("parent", "loop"), ("parent", "thread"), ("parent_function", "thread")]
)
async def test_what_a_task_publishes_is_its_child(deployment: Lasting, task: str, how: str):
    first = deployment.publish(f"calling.{task}", [how])

    child, current = (await deployment.ended(first))["result"]
    grandchild, its_current, *of_child = (await deployment.ended(child))["result"]
    assert (current, its_current) == (f"calling.{task}", "calling.child")
    assert of_child == [first, first]
    assert (await deployment.ended(grandchild))["result"] == [child, first, 3]
    children = [deployment.record(one)["children"] for one in (first, child)]
    assert [[one[0][0] for one in each] for each in children] == [[child], [grandchild]]


async def test_what_follows_the_caller_takes_its_result(deployment: Lasting):
    link: dict[str, Any] = {
        "task": "calling.itself", "args": [], "kwargs": {}, "options": {"task_id": "follows"},
        "subtask_type": None, "immutable": False,
    }  # fmt: skip
    first = deployment.publish("calling.itself", [2], embed={"callbacks": [link]})

    record = await deployment.ended(first)
    assert (record["status"], record["result"]) == ("SUCCESS", 2), record


async def test_what_a_base_raises_is_an_end_only_where_it_leaves_the_task(deployment: Lasting):
    caught, failed = (deployment.publish("calling.refused", [one]) for one in (True, False))

    record = await deployment.ended(caught)
    assert (record["status"], record["result"]) == ("SUCCESS", "without"), record
    assert (await deployment.ended(failed))["status"] == "FAILURE"
    await eventually(lambda: deployment.depth("default.dead") >= 1)
    assert deployment.depth("default.dead") == 1
