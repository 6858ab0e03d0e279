"""Random exceptions out of random tasks on both pools: each is one end, and no slot is lost."""

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from penstock.wire.keys import TaskKeys
from tests.deployment.workers import FINAL, Deployment
from tests.fuzz.budget import budget_s, rounds, seed
from tests.support.ends import Recipe, any_recipe, expected, name_of, raised_of
from tests.support.waiting import eventually

CONCURRENCY = 4
AT_ONCE = 150
"""Tasks of a round."""

FUNCTIONS = (
    "ends.function", "ends.plain", "ends.bound", "ends.hooked", "ends.throws", "ends.autoretry",
)  # fmt: skip
COROUTINES = ("ends.coroutine", "ends.in_a_group")
TELLING = ("ends.while_telling", "ends.while_telling_sync")
ASKING = ("ends.bound", "ends.autoretry")
"""Celery's `retry` asks the exception whether it is true: what that raises leaves the task."""

pytestmark = pytest.mark.timeout(budget_s() + 240)


@pytest.fixture
def deployment(amqp_url: str, redis_url: str, tmp_path: Path) -> Deployment:
    return Deployment(amqp_url=amqp_url, redis_url=redis_url, folder=tmp_path)


@pytest.mark.parametrize("pool", ["threads", "prefork", "asyncio"])
async def test_whatever_is_raised_is_one_end(deployment: Deployment, pool: str):
    first = seed()
    chosen = random.Random(first)
    count = 0
    with deployment.publishing():
        async with deployment.worker(
            pool, "-Q", "default", concurrency=CONCURRENCY, app="tests.apps.ends_app"
        ):
            for number in rounds(budget_s() / 2):
                raised = {}
                for _ in range(AT_ONCE):
                    task, recipe = an_end(chosen)
                    raised[deployment.publish(task, [recipe])] = task, recipe
                where = f"FUZZ_SEED={first} round {number}"
                records = await all_ended(deployment, raised, where)
                count += len(records)
                for (task, recipe), record in zip(raised.values(), records, strict=True):
                    check(task, recipe, record, f"{where}: {task} {json.dumps(recipe)}")
                ends = [sum(state in FINAL for state in deployment.states(one)) for one in raised]
                assert set(ends) == {1}, where
                await every_slot_works(deployment, number, where)
                forget(deployment, list(raised))
    # What was not acknowledged is there again, now that the worker has ended.
    assert deployment.depth("default") == 0
    assert deployment.depth("default.dead") == 0
    print(f"{pool}: {count} ends, seed {first}")  # noqa: T201  # what `make fuzz` shows


def an_end(chosen: random.Random) -> tuple[str, Recipe]:
    """Choose a task and what it raises."""
    kind = chosen.random()
    tasks = TELLING if kind < 0.03 else COROUTINES if kind < 0.45 else FUNCTIONS
    task, recipe = chosen.choice(tasks), any_recipe(chosen)
    if task in ASKING and "bool" in recipe.get("hostile", ()):
        task = "ends.function"
    return task, recipe


def check(task: str, recipe: Recipe, record: dict[str, Any], where: str) -> None:
    """Compare an end with what was raised."""
    kind, text = expected(recipe)
    if kind == "StopIteration" and task not in {*FUNCTIONS, "ends.while_telling_sync"}:
        kind, text = "RuntimeError", "coroutine raised StopIteration"  # PEP 479
    assert record["status"] == "FAILURE", where
    told = record["result"]
    assert (told["type"], told["text"]) == (kind, text), where
    assert kind in record["traceback"], where
    cause = BaseException.__dict__["__cause__"].__get__(raised_of(recipe))
    if cause is not None and len(text) < 10_000:
        assert name_of(cause) in record["traceback"], where


async def all_ended(
    deployment: Deployment, tasks: Mapping[str, Any], where: str
) -> list[dict[str, Any]]:
    """Wait until all tasks have ended, by id, and return their records."""
    ids = list(tasks)
    names = [f"celery-task-meta-{one}" for one in ids]

    def final() -> list[dict[str, Any]] | None:
        ended = deployment.redis.exists(*(TaskKeys.of(one).ended for one in ids))
        if ended < len(ids):
            return None
        return [json.loads(text) for text in deployment.redis.mget(names)]

    try:
        records: list[dict[str, Any]] = await eventually(final, 60, 0.05)
    except AssertionError:
        ended = deployment.redis.mget([TaskKeys.of(one).ended for one in ids])
        left = [tasks[one] for one, end in zip(ids, ended, strict=True) if not end]
        raise AssertionError(f"{where}: {len(left)} never ended: {left[:5]}") from None
    return records


async def every_slot_works(deployment: Deployment, number: int, where: str) -> None:
    """Have as many tasks run at a time as there are slots."""
    meeting = [f"meeting-{number}", CONCURRENCY]
    guests = {deployment.publish("ends.meet", meeting): meeting for _ in range(CONCURRENCY)}
    records = await all_ended(deployment, guests, where)
    assert {one["status"] for one in records} == {"SUCCESS"}, where


def forget(deployment: Deployment, ids: list[str]) -> None:
    """Make room for the next round."""
    keys = [key for one in ids for key in TaskKeys.of(one)]
    deployment.redis.delete(*keys)
