"""A worker whose tasks end in every way (`tests.support.ends`): `-A tests.apps.ends_app`."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

from celery import Task
from celery.exceptions import Ignore, Reject

from penstock.worker.errors import PermanentError, RetryableError
from penstock.worker.running.context import TaskContext
from penstock.worker.running.spec import TaskSpec
from tasks.app import build_app
from tasks.config import WorkerConfig
from tasks.registry import TASKS
from tests.support.ends import Recipe, make
from topology.layout import load_from_env


def function(recipe: Recipe) -> None:
    """Raise it."""
    raise make(recipe)


async def coroutine(recipe: Recipe) -> None:
    """Raise it on the loop."""
    await asyncio.sleep(0)
    raise make(recipe)


async def in_a_group(recipe: Recipe) -> None:
    """Raise it in a task of one's own, and wait for that."""
    await asyncio.gather(coroutine(recipe), asyncio.sleep(0.01))


async def while_telling(context: TaskContext[Any], recipe: Recipe) -> None:
    """Tell of things that cannot be told, then raise it."""
    error = make(recipe)
    await context.progress(error, error, error)  # type: ignore[arg-type]
    for value in (float("nan"), 2**80, "a\udc80", [error], object()):
        await context.progress(value, value, value)  # type: ignore[arg-type]
        await context.log(value, value)  # type: ignore[arg-type]
    await context.log("x" * 1_000_000, "\udc80" * 1000)
    raise error


def while_telling_sync(context: TaskContext[Any], recipe: Recipe) -> None:
    """Do so from a function."""
    error = make(recipe)
    for value in (error, float("nan"), 2**80, "a\udc80", [error]):
        context.progress_sync(value, value, value)  # type: ignore[arg-type]
        context.log_sync(value, value)  # type: ignore[arg-type]
    raise error


async def meet(context: TaskContext[Any], key: str, guests: int) -> int:
    """Wait until so many run at a time: one for each slot."""
    redis = context.writer._client  # type: ignore[attr-defined]  # the loop's
    await redis.incr(key)
    while int(await redis.get(key) or 0) < guests:  # noqa: ASYNC110  # an event of many processes
        await asyncio.sleep(0.02)
    return guests


def leave(code: Any) -> None:
    """Leave the process."""
    sys.exit(code)


def count() -> Iterator[int]:
    """Return a generator."""
    yield 1


async def count_slowly() -> AsyncIterator[int]:
    """Return an asynchronous one."""
    yield 1


class Written:
    """Raises when it is encoded."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __json__(self) -> Any:
        """Raise it."""
        raise self._error


class Hidden:
    """Has no class that could be asked for."""

    @property  # type: ignore[misc]  # as whoever means it
    def __class__(self) -> Any:
        """Raise."""
        raise ValueError("class")


def odd_result(kind: str) -> Any:
    """Return what cannot be stored, or not be shown."""
    if kind == "class raises":
        return Hidden()
    if kind == "json exits":
        return Written(SystemExit("json"))
    if kind == "json is cancelled":
        return Written(asyncio.CancelledError("json"))
    if kind == "unprintable":
        return type("Odd", (dict,), {"__repr__": lambda _: 1 / 0})(a=1)
    if kind == "unprintable exits":
        return type("Odd", (dict,), {"__repr__": lambda _: sys.exit(1)})(a=1)
    return {
        "set": {1},
        "nan": float("nan"),
        "surrogate": "\udc80",
        "deep": make,
        "keys": {(1,): 2},
    }[kind]


async def odd_result_of_coroutine(kind: str) -> Any:
    """Return the same on the loop."""
    return odd_result(kind)


SPECS = (
    TaskSpec("ends.function", function),
    TaskSpec("ends.coroutine", coroutine),
    TaskSpec("ends.in_a_group", in_a_group),
    TaskSpec("ends.while_telling", while_telling),
    TaskSpec("ends.while_telling_sync", while_telling_sync),
    TaskSpec("ends.meet", meet),
    TaskSpec("ends.leave", leave),
    TaskSpec("ends.count", count),
    TaskSpec("ends.count_slowly", count_slowly),
    TaskSpec("ends.odd_result", odd_result),
    TaskSpec("ends.odd_result_of_coroutine", odd_result_of_coroutine),
    TaskSpec("ends.throws", function, {"throws": (BaseException,)}),
    TaskSpec("ends.autoretry", function, {"autoretry_for": (BaseException,), "max_retries": 0}),
)

app = build_app(WorkerConfig.from_env(os.environ), load_from_env(os.environ), (*TASKS, *SPECS))


@app.task(name="ends.plain")  # type: ignore[untyped-decorator]  # Celery has no types
def plain(recipe: Recipe) -> None:
    """Raise it from a task of Celery's own kind."""
    raise make(recipe)


@app.task(name="ends.bound", bind=True)  # type: ignore[untyped-decorator]
def bound(self: Task, recipe: Recipe) -> None:
    """Keep the exception in `__context__` of another attempt that is never made."""
    try:
        raise make(recipe)
    except BaseException as error:  # noqa: BLE001  # as anybody's code may
        raise self.retry(exc=error, max_retries=0) from None


@app.task(name="ends.in_a_task_group", bind=True)  # type: ignore[untyped-decorator]
async def in_a_task_group(self: Task, *ways: str) -> Any:
    """Have the tasks of a group say how this one ends, the first time."""
    if self.request.retries:
        return self.request.retries

    async def say(way: str) -> None:
        await asyncio.sleep(0)
        match way:
            case "retry":
                self.retry(countdown=0)
            case "retryable":
                raise RetryableError("away")
            case "permanent":
                raise PermanentError("never")
            case "reject":
                raise Reject("no", requeue=False)
            case "ignore":
                raise Ignore
            case "error":
                raise ValueError("beside")
            case "waits":
                await asyncio.sleep(60)
            case "nested":
                async with asyncio.TaskGroup() as inner:
                    inner.create_task(say("retry"))

    async with asyncio.TaskGroup() as tasks:
        for way in ways:
            tasks.create_task(say(way))
    return None


class Hooked(Task):  # type: ignore[misc]
    """Its hooks raise; and it is no class of ours."""

    def on_failure(self, *_: Any) -> None:
        """Raise."""
        raise KeyError("on_failure")

    def after_return(self, *_: Any) -> None:
        """Leave."""
        sys.exit("after_return")

    def on_success(self, *_: Any) -> None:
        """Leave."""
        sys.exit("on_success")

    def on_retry(self, *_: Any) -> None:
        """Leave."""
        sys.exit("on_retry")


@app.task(name="ends.hooked", base=Hooked)  # type: ignore[untyped-decorator]
def hooked(recipe: Recipe | None) -> int:
    """Raise it, or succeed."""
    if recipe:
        raise make(recipe)
    return 1


class Opening(app.Task):  # type: ignore[misc,name-defined]
    """Does not begin."""

    def before_start(self, *_: Any) -> None:
        """Leave."""
        sys.exit("before_start")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call around the body, as Flask's recipe does."""
        return self.run(*args, **kwargs)


@app.task(name="ends.opening", base=Opening)  # type: ignore[untyped-decorator]
def opening() -> None:
    """Never run."""


@app.task(name="ends.celerys_ways", bind=True)  # type: ignore[untyped-decorator]
def celerys_ways(self: Task, way: str) -> Any:
    """Do what Celery allows with what cannot be sent."""
    match way:
        case "retry with a set":
            raise self.retry(args=[{make}], countdown=0)
        case "replace with a set":
            raise self.replace(self.s({make}))
        case "update the state with a set":
            self.update_state(state="DIGGING", meta={make})
        case "retry once for SystemExit":
            if self.request.retries:
                return self.request.retries
            raise self.retry(exc=SystemExit("again"), countdown=0)
        case "reject":
            raise Reject("no", requeue=False)
        case "a failure of its own, and once more":
            if self.request.retries:
                return self.request.retries
            self.update_state(state="FAILURE", meta="by hand")
            raise self.retry(countdown=0)
        case "a failure of its own, and no retry left":
            self.update_state(state="FAILURE", meta="by hand")
            try:
                self.retry(max_retries=0)
            except self.MaxRetriesExceededError:
                raise Ignore from None
        case "a failure of its own":
            self.update_state(state="FAILURE", meta="by hand")
    return time.time()
