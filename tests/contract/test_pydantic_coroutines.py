"""Coroutine tasks with `pydantic=True`: Celery's wrapper around them, and what is stored."""
# mypy: ignore-errors

import asyncio
from typing import Any

import pytest
from celery import Celery, Task
from pydantic import BaseModel, ValidationError, field_validator

import penstock
from penstock.worker.asyncio_pool.plans import plan_of
from penstock.worker.running.runtime import Runtime

REDIS = "redis://localhost:1/0"


validated: list[float] = []


class Item(BaseModel):
    name: str
    price: float

    @field_validator("price")
    @classmethod
    def note(cls, price: float) -> float:
        validated.append(price)
        return price


class Priced(Item):
    currency: str = "EUR"


async def same(item: Item) -> Item:
    await asyncio.sleep(0)
    return item


async def optional(item: Item | None) -> Item | None:
    return item


async def more(item: Item) -> Item:
    return Priced(**item.model_dump())


async def unhinted(item: Item):  # Celery dumps by the hint
    return {"name": item.name}


async def of_the_task(self: Task, item: Item) -> Item:
    assert self.name == "of_the_task"
    return item


def function(item: Item) -> Item:
    return item


@pytest.fixture(params=["early", "late", "ours"])
def app(request: pytest.FixtureRequest) -> Any:
    kind = penstock.Penstock if request.param == "ours" else Celery
    made = kind("app", broker="memory://", backend=REDIS, set_as_current=False)
    if request.param == "early":
        penstock.install(made)
    for run in (same, optional, more, unhinted, function):
        made.task(name=run.__name__, pydantic=True)(run)
    made.task(name="of_the_task", bind=True, pydantic=True)(of_the_task)
    made.finalize()
    return penstock.install(made)


@pytest.mark.parametrize(
    ("task", "result"),
    [
        ("same", {"name": "a", "price": 2.0}),
        ("optional", {"name": "a", "price": 2.0}),
        ("more", {"name": "a", "price": 2.0, "currency": "EUR"}),
        ("unhinted", {"name": "a"}),
        ("of_the_task", {"name": "a", "price": 2.0}),
        ("function", {"name": "a", "price": 2.0}),
    ],
)
def test_the_model_that_a_task_returns_is_dumped(app: Any, task: str, result: Any):
    answer = app.tasks[task].apply(({"name": "a", "price": 2},), throw=True)

    assert answer.result == result


def test_arguments_are_validated_once_and_others_refused(app: Any):
    task = app.tasks["same"]
    with pytest.raises(ValidationError):
        task.apply(({"name": "a"},), throw=True)
    validated.clear()
    assert task.apply(({"name": "a", "price": 2},)).result["price"] == 2.0
    assert validated == [2.0]
    assert app.tasks["optional"].apply((None,), throw=True).result is None


def test_the_asyncio_pool_dumps_it_in_an_application_without_the_library():
    made: Any = Celery("app", broker="memory://", backend=REDIS, set_as_current=False)
    made.task(name="same", pydantic=True)(same)
    made.finalize()
    plan = plan_of(made.tasks["same"], made, "worker", lambda: Runtime(None))
    assert plan is not None

    result = asyncio.run(plan.begin(None, ({"name": "a", "price": 2},), {}))
    assert result == {"name": "a", "price": 2.0}
