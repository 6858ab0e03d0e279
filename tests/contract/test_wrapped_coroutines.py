"""Coroutine tasks of stock applications: which functions make one, and who awaits what."""
# mypy: ignore-errors

import asyncio
from functools import wraps

import pytest
from celery import Celery, Task
from celery.app.task import Context

from penstock.worker.asyncio_pool.plans import plan_of
from penstock.worker.running.runtime import Runtime
from penstock.worker.running.task_function import TaskFunction


def on_a_thread(function):
    """Make a coroutine function of a function, as `asgiref` and others do."""

    @wraps(function)
    async def run(*args):
        return await asyncio.to_thread(function, *args)

    return run


def by_itself(function):
    """Make a function of a coroutine function."""

    @wraps(function)
    def run(*args):
        return asyncio.run(function(*args))

    return run


def double(n: int) -> int:
    return 2 * n


@pytest.mark.parametrize(
    ("run", "on_the_loop", "has_coroutine"),
    [
        (double, False, False),
        (on_a_thread(double), True, True),
        (by_itself(on_a_thread(double)), False, True),
        (on_a_thread(by_itself(on_a_thread(double))), True, True),
    ],
)
def test_a_coroutine_function_around_a_function_is_one(run, on_the_loop, has_coroutine):
    with Celery("app", set_as_current=False) as app:
        app.task(name="double", shared=False)(run)
        app.finalize()

        assert (plan_of(app.tasks["double"], app, "w@h", lambda: None) is not None) == on_the_loop
        known = TaskFunction.of(run, takes_self=False)
        assert (known.is_coroutine, known.has_coroutine) == (on_the_loop, has_coroutine)


class Hooked(Task):
    """Runs on a thread, as its call is the author's."""

    def __call__(self, *args):
        return super().__call__(*args)


@pytest.mark.parametrize("base", [Task, Hooked])
def test_celery_calls_an_errback_that_is_a_coroutine(base):
    async def errback(request, error, traceback):
        await asyncio.sleep(0)
        return [request.id, str(error), traceback]

    async def plain(*args):
        return list(args)

    runtime = Runtime(None)
    with Celery("app", set_as_current=False) as app:
        app.task(name="errback", shared=False, base=base)(errback)
        app.task(name="plain", shared=False, base=base)(plain)
        app.finalize()
        for task in app.tasks.values():
            plan_of(task, app, "w@h", lambda: runtime)

        assert app.tasks["errback"](Context(id="i"), ValueError("no"), "tb") == ["i", "no", "tb"]
        assert asyncio.run(app.tasks["plain"](1, ValueError(), 3))[0] == 1
