"""How each task is executed: worked out once, when the worker starts."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any

from celery import Task, signals
from celery._state import _task_stack
from celery.app.task import Context

from penstock.worker.asyncio_pool.sentry import tracer_maker
from penstock.worker.ending.ending import tracer_of
from penstock.worker.results.result_backend import RedisBackend
from penstock.worker.running import local_stacks
from penstock.worker.running.dumping import dumping, has_coroutine, makes_coroutine
from penstock.worker.running.outcome import DeferredRetry, defers_retry, outcome_of, unpacked
from penstock.worker.running.runtime import Limits, Runtime
from penstock.worker.running.task import PenstockTask

Tracer = Callable[..., Any]

_MAPPING = frozenset(("celery.map", "celery.starmap"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a coroutine task is executed."""

    task: Any

    begin: Callable[[Any, Any, Any], Any]
    """Takes Celery's context, arguments and keyword arguments; returns the coroutine."""

    enter: Callable[[Any], None]
    """Takes the context: `self.request` and `current_task` are there from then on."""

    tell: Tracer
    """Celery's tracer, which is given the outcome instead of running the task."""

    ours: bool
    """Whether its states are kept by our scripts."""

    quiet: bool
    """Whether nothing of the task itself is called when it has succeeded."""

    stores_started: bool
    """Whether STARTED is stored as Celery does."""


def plan_of(task: Any, app: Any, hostname: str, runtime_of: Callable[[], Runtime]) -> Plan | None:
    """Return how a task is executed on the event loop; None: on a thread.

    A coroutine whose task has hooks that must be called before it, or around it, is called on a
    thread, which waits for it; so is one that a function of the author's may hand on.

    Args:
        task: Celery's.
        app: whose it is.
        hostname: of the worker.
        runtime_of: returns the event loop.
    """
    if isinstance(task, PenstockTask):
        return _of_ours(task)
    run = getattr(task, "_orig_run", task.run)  # what `autoretry_for` has wrapped
    if not has_coroutine(run):
        return None
    handed_on = not makes_coroutine(run)  # perhaps: by a decorator of the author's
    run = dumping(run)
    name = "_orig_run" if hasattr(task, "_orig_run") else "run"
    if handed_on or _overrides(task, "before_start", "__call__"):
        setattr(task, name, _waited_for(task, run, runtime_of))
        return None
    setattr(task, name, _given_outcome(task, run, runtime_of))
    task.retry = _deferring(task, task.retry)
    with _nothing_before(task):
        build = tracer_maker(task)
        tell = build(task.name, task, app.loader, hostname, app=app)

    def begin(_: Any, args: Any, kwargs: Any) -> Any:
        return run(*args, **kwargs)

    # Celery's tracer asks the task each time: it would be STARTED when it ends.
    stores_started, task.track_started = task.track_started, False
    return Plan(
        task=task,
        begin=begin,
        enter=local_stacks.entrance(task),
        tell=tell,
        ours=False,
        quiet=False,
        stores_started=stores_started,
    )


def _of_ours(task: PenstockTask) -> Plan | None:
    if task.authored is None or not task.authored.is_coroutine:
        return None
    if _overrides(task, "before_start", "__call__"):
        return None
    with _nothing_before(task):
        tell = tracer_of(task, tracer_maker(task))
    return Plan(
        task=task,
        begin=partial(task.begin, task.authored),
        enter=local_stacks.entrance(task),
        tell=tell,
        ours=isinstance(task.backend, RedisBackend),
        quiet=not _overrides(task, "on_success", "after_return"),
        stores_started=False,
    )


def _overrides(task: Any, *names: str) -> bool:
    """Return whether the author of a task wrote one of these methods."""
    return any(
        name in vars(one)
        for one in type(task).__mro__[: type(task).__mro__.index(Task)]
        if one is not PenstockTask
        for name in names
    )


@contextmanager
def _nothing_before(task: Any) -> Iterator[None]:
    """Have a tracer built that does nothing of what belongs before the body: that has happened."""
    receivers, signals.task_prerun.receivers = signals.task_prerun.receivers, []
    task.__dict__["before_start"] = lambda *_: None
    try:
        yield
    finally:
        del task.__dict__["before_start"]
        signals.task_prerun.receivers = receivers


def _given_outcome(
    task: Any, run: Callable[..., Any], runtime_of: Callable[[], Runtime]
) -> Callable[..., Any]:
    """Return what runs a task of Celery's, or gives the outcome when it has run."""

    @wraps(run)
    def run_or_give(*args: Any, **kwargs: Any) -> Any:
        request = task.request
        outcome = outcome_of(request.id)
        if outcome is not None:
            return outcome.take()
        result = run(*args, **kwargs)
        return _awaited(task, request, result, runtime_of) if _waits(args) else result

    return run_or_give


def _waited_for(
    task: Any, run: Callable[..., Any], runtime_of: Callable[[], Runtime]
) -> Callable[..., Any]:
    """Return what runs a task of Celery's, and waits on its thread for a coroutine on the loop."""

    @wraps(run)
    def run_and_wait(*args: Any, **kwargs: Any) -> Any:
        request, result = task.request, run(*args, **kwargs)
        if request.called_directly and not _waits(args):
            return result  # which the caller awaits
        return _awaited(task, request, result, runtime_of)

    return run_and_wait


def _waits(args: Sequence[Any]) -> bool:
    """Return whether Celery itself calls a task, and takes what comes back for its result.

    It does so behind `map`, `starmap` and `chunks`, and with an errback of three parameters
    (`celery.backends.base.Backend._call_task_errbacks`).
    """
    if len(args) > 2 and isinstance(args[0], Context) and isinstance(args[1], BaseException):
        return True
    stack = _task_stack.stack
    return len(stack) > 1 and stack[-2].name in _MAPPING


def _awaited(task: Any, request: Any, result: Any, runtime_of: Callable[[], Runtime]) -> Any:
    """Wait on this thread for a coroutine on the loop; on the loop, the caller awaits it."""
    if not inspect.iscoroutine(result) or runtime_of().here:
        return result

    async def body() -> Any:
        return await result

    hard_s, soft_s = request.timelimit or (None, None)
    limits = Limits(hard_s or task.time_limit, soft_s or task.soft_time_limit)
    return unpacked(partial(runtime_of().run, request.id or task.name, body, limits))


def _deferring(task: Any, retry: Callable[..., Any]) -> Callable[..., Any]:
    """Return Celery's `Task.retry` that publishes when the coroutine has ended."""

    @wraps(retry)
    def retry_later(*args: Any, **options: Any) -> Any:
        if defers_retry(task, options):
            raise DeferredRetry(partial(retry, *args, **options))
        return retry(*args, **options)

    return retry_later
