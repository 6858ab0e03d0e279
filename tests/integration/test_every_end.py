"""Whatever leaves a task's body, and whatever fails while that is recorded, is one end."""

from pathlib import Path
from typing import Any

import pytest

from tests.deployment.workers import FINAL, Deployment
from tests.support.ends import NO_TEXT, expected
from tests.support.waiting import eventually

CONCURRENCY = 3
TASKS = (
    "ends.function", "ends.coroutine", "ends.plain", "ends.bound", "ends.hooked", "ends.throws",
    "ends.autoretry", "ends.in_a_group", "ends.while_telling", "ends.while_telling_sync",
)  # fmt: skip
ASKING = ("ends.bound", "ends.autoretry")
"""Celery's `retry` asks the exception whether it is true: what that raises leaves the task."""
HOSTILE = (
    "str", "str exits", "str is none", "str is odd", "repr", "args", "args are none", "reduce",
    "reduce exits", "reduce calls", "attributes", "attributes exit", "class", "notes", "eq",
    "bool", "module",
)  # fmt: skip
VALUES = (
    "nan", "infinity", "bytes", "surrogate", "nul", "cycle", "deep", "long", "many", "huge", "big",
    "thing", "unprintable", "odd text", "envelope", "set", "keys", "exception", "function",
)  # fmt: skip
RETURNING = ("ends.odd_result", "ends.odd_result_of_coroutine")
UNSTORED = {
    "set": "EncodeError", "nan": "EncodeError", "keys": "EncodeError", "surrogate": "EncodeError",
    "json exits": "SystemExit", "json is cancelled": "CancelledError",
    "class raises": "ValueError",
}  # fmt: skip
"""Results that cannot be stored, and what is recorded of the attempt."""
RETRYING = (
    ("retry",),
    ("retryable", "waits"),
    ("nested",),
    ("retry", "retry"),
    ("retry", "ignore"),
)
IN_A_TASK_GROUP = {
    ("permanent", "retry"): ("PermanentError", "never"),
    ("waits", "reject"): ("Reject", "no"),
    ("retry", "error"): ("ExceptionGroup", "2 sub-exceptions"),
    ("ignore", "nested", "error"): ("ExceptionGroup", "sub-exceptions"),
}
RECIPES: list[dict[str, Any]] = [
    {"kind": "SystemExit", "args": [3]},
    {"kind": "SystemExit", "args": []},
    {"kind": "KeyboardInterrupt", "args": ["x"]},
    {"kind": "GeneratorExit", "args": ["x"]},
    {"kind": "CancelledError", "args": ["x"]},
    {"kind": "BaseException", "args": ["x"]},
    {"kind": "MemoryError", "args": ["x"]},
    {"kind": "RecursionError", "args": ["x"]},
    {"kind": "NeedsTwo", "args": ["a", "b"]},
    {"kind": "Keyword", "args": []},
    {"kind": "KeyError", "args": ["k"]},
    {"kind": "Outer.InnerError", "args": ["k"]},
    {"kind": "FileNotFoundError"},
    {"kind": "UnicodeDecodeError"},
    {"kind": "SyntaxError"},
    {"members": [{"kind": "ValueError", "args": [1]}, {"kind": "SystemExit", "args": [2]}]},
    {"kind": "ValueError", "args": ["x"], "cause": {"kind": "KeyError", "args": ["the cause"]}},
    *({"kind": "ValueError", "args": [{"value": value}]} for value in VALUES),
    *({"kind": "ExplodingError", "args": ["x"], "hostile": [hostile]} for hostile in HOSTILE),
    {"kind": "BaseException", "args": ["x"], "hostile": ["str exits", "reduce", "attributes exit"]},
]


@pytest.fixture
def deployment(amqp_url: str, redis_url: str, tmp_path: Path) -> Deployment:
    return Deployment(amqp_url=amqp_url, redis_url=redis_url, folder=tmp_path)


@pytest.mark.parametrize("pool", ["threads", "prefork", "asyncio"])
async def test_every_way_to_end_is_one_end(deployment: Deployment, pool: str):
    publish = deployment.publish
    with deployment.publishing():
        async with deployment.worker(pool, concurrency=CONCURRENCY, app="tests.apps.ends_app"):
            raised = {
                publish(task, [recipe]): (task, recipe)
                for number, recipe in enumerate(RECIPES)
                for task in (TASKS if number < 6 else (TASKS[0], TASKS[number % len(TASKS)]))
                if not ("bool" in recipe.get("hostile", ()) and task in ASKING)
            }
            others = {
                publish("ends.leave", [5]): ("SystemExit", "5"),
                publish("ends.opening"): ("SystemExit", "before_start"),
                publish("ends.count"): ("EncodeError", "generator"),
                publish("ends.count_slowly"): ("EncodeError", "async_generator"),
                publish("ends.celerys_ways", ["retry with a set"]): ("EncodeError", "set"),
                publish("ends.celerys_ways", ["replace with a set"]): ("EncodeError", "set"),
                publish("ends.celerys_ways", ["update the state with a set"]): (
                    "EncodeError", "set",
                ),
                publish("ends.celerys_ways", ["reject"]): ("Reject", "no"),
            }  # fmt: skip
            others |= {
                publish(task, [kind]): (error, kind.split()[0])
                for task in RETURNING
                for kind, error in UNSTORED.items()
            }
            succeeding = [
                publish("ends.hooked", [None]),
                *(publish(task, ["unprintable"]) for task in RETURNING),
                *(publish(task, ["unprintable exits"]) for task in RETURNING),
                publish("ends.celerys_ways", ["retry once for SystemExit"]),
                publish("ends.celerys_ways", ["a failure of its own, and once more"]),
            ]
            retried = [publish("ends.in_a_task_group", ways) for ways in RETRYING]
            others |= {
                publish("ends.in_a_task_group", ways): end for ways, end in IN_A_TASK_GROUP.items()
            }
            ignored = publish("ends.in_a_task_group", ["waits", "ignore"])
            by_hand = [
                publish("ends.celerys_ways", ["a failure of its own"]),
                publish("ends.celerys_ways", ["a failure of its own, and no retry left"]),
            ]
            for task_id, (task, recipe) in raised.items():
                record = await deployment.ended(task_id, timeout_s=60)
                told = record["result"]
                assert record["status"] == "FAILURE", (task, recipe, record)
                assert (told["type"], told["text"]) == expected(recipe), (task, recipe)
                assert len([s for s in deployment.states(task_id) if s in FINAL]) == 1
                assert told["text"] == NO_TEXT or "Traceback (most recent" in record["traceback"]
                if cause := recipe.get("cause"):
                    assert cause["args"][0] in record["traceback"]
            for task_id, (kind, text) in others.items():
                record = await deployment.ended(task_id)
                assert (record["status"], record["result"]["type"]) == ("FAILURE", kind), record
                assert text in record["result"]["text"] or kind == "EncodeError", record
                assert "DeferredRetry:" not in str(record)
            for task_id in retried:
                await succeeded(deployment, task_id)
                assert deployment.record(task_id)["result"] == 1
            for task_id in succeeding:
                await succeeded(deployment, task_id)
                assert deployment.states(task_id)[-1] == "SUCCESS"
            for task_id in by_hand:
                assert (await deployment.ended(task_id))["result"] == "by hand"
            await every_slot_works(deployment)
            assert deployment.states(ignored) == ["STARTED"]
        # What was not acknowledged is there again, now that the worker has ended.
        assert deployment.depth("default") == 0
        assert deployment.depth("default.dead") == 3  # rejected, and given up


async def succeeded(deployment: Deployment, task_id: str) -> None:
    """Wait for a success, also behind a failure that was none."""
    await eventually(lambda: deployment.record(task_id).get("status") == "SUCCESS", timeout_s=15)


async def every_slot_works(deployment: Deployment) -> None:
    """Have as many tasks run at a time as there are slots."""
    ids = [deployment.publish("ends.meet", ["meeting", CONCURRENCY]) for _ in range(CONCURRENCY)]
    for task_id in ids:
        assert (await deployment.ended(task_id, timeout_s=30))["status"] == "SUCCESS"
    await eventually(lambda: deployment.depth("default") == 0)
