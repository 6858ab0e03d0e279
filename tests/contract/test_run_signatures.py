"""What packages find that look at the function of a task, as celery-singleton does."""
# mypy: ignore-errors

import inspect

import pytest
from celery import Celery, Task

import penstock


def plain(x: int, y: int = 2, *rest, z: int = 3) -> int:
    return x + y


def bound(self, x: int) -> int:
    return x


def with_context(context: penstock.TaskContext, x: int) -> int:
    return x


class Written(Task):
    name = "written"

    def run(self, x: int) -> int:
        return x


def made(*, installed: bool) -> Celery:
    app = Celery("app", set_as_current=False)
    if installed:
        penstock.install(app)
    app.task(name="plain", shared=False)(plain)
    app.task(name="bound", shared=False, bind=True)(bound)
    app.task(name="retried", shared=False, autoretry_for=(ValueError,))(plain)
    app.task(name="retried_bound", shared=False, bind=True, autoretry_for=(ValueError,))(bound)
    app.register_task(Written())
    app.finalize()
    return app


@pytest.mark.parametrize("task", ["plain", "bound", "retried", "retried_bound", "written"])
def test_the_signature_of_run_is_that_of_stock_celery(task: str):
    with made(installed=False) as stock, made(installed=True) as ours:
        wanted, found = stock.tasks[task].run, ours.tasks[task].run

        assert inspect.signature(found) == inspect.signature(wanted)

        assert inspect.unwrap(found).__code__ is inspect.unwrap(wanted).__code__


def test_the_context_is_no_argument():
    with Celery("app", set_as_current=False) as app:
        penstock.install(app).task(name="with_context", shared=False)(with_context)
        assert list(inspect.signature(app.tasks["with_context"].run).parameters) == ["x"]
