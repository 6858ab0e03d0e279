"""Tasks under which a process died: found, run in a process of their own, and ended if they did it.

A process that ends (`os._exit`, a segfault, no memory) gives every delivery in its hands back. On
prefork a child has one task, which is therefore the cause, and its parent sees how it ended. On
threads all that ran there are suspects, and one of them is the cause:

    redelivered, STARTED by a process that is not this one ──► suspect: 1 death
       suspect ──► a process of its own ── ends in it ────────► the end that it has
                        ▲                └ the process dies ─► + 1 death ──┐
                        └──────────────── fewer than 3 ────────────────────┤
                                                        FAILURE WorkerLost ┘

Its neighbours run through in processes of their own, and are not charged. Only a parent that sees a
child die charges; whoever kills a whole worker charges nobody with more than that first death.

On the asyncio pool thousands are suspects at once, which processes of their own could not run at a
time: they run as before, and only those are suspects under which another process died, too.
"""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from celery.app.task import Context
from celery.app.trace import FAILURE, trace_ok_t
from celery.concurrency.prefork import TaskPool as PreforkPool
from redis.exceptions import RedisError

from penstock.worker.celery_versions import ignores_result
from penstock.worker.deaths import isolated
from penstock.worker.ending.ending import TraceInfo, ending_of, guarded
from penstock.worker.ending.pool_calls import guarded_call
from penstock.worker.errors import WorkerLost
from penstock.worker.messages.envelope import is_delivery, parts_of
from penstock.worker.process import process_token

MAX_DEATHS = 3
"""Of processes under one task."""

_logger = logging.getLogger(__name__)


class Suspects:
    """Decides where a pool that executes in this process executes a delivery.

    Args:
        app: whose tasks; it must be an attribute of a module, or they are executed here.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self._pool: Any = None
        self._least = 1
        """Deaths of other processes that make a suspect."""

    def __repr__(self) -> str:
        """Tell which pool asks."""
        return f"<Suspects {self._pool!r}>"

    def watch(self, pool: Any) -> None:
        """Have a pool ask before it executes, unless its tasks have processes of their own."""
        if pool is self._pool or isinstance(pool, PreforkPool):
            return
        if hasattr(pool, "suspects"):  # it asks by itself
            self._pool, pool.suspects = pool, self
            self._least = 2
            return
        self._pool, apply = pool, pool.on_apply

        def on_apply(
            target: Callable[..., Any], args: Any = None, kwargs: Any = None, **options: Any
        ) -> Any:
            if not is_delivery(args):
                return apply(target, args or (), kwargs, **options)
            target, options = guarded_call(partial(self.call, target), options)
            return apply(target, args or (), kwargs, **options)

        pool.on_apply = on_apply

    def call(self, target: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Call what executes a task (`celery.app.trace.fast_trace_task`), here or elsewhere."""
        name, uuid, request, *body = args
        if request["delivery_info"].get("redelivered"):
            whole = {**request, **parts_of(self._app, *body)}
            answer = self.execute_elsewhere(name, uuid, whole)
            if answer is not None:
                return answer
        return target(*args, **options)

    def execute_elsewhere(self, name: str, uuid: str, request: dict[str, Any]) -> Any:
        """Execute a redelivery in a process of its own, if it is a suspect.

        Args:
            name: of the task.
            uuid: of the task.
            request: what the tracer of its task takes.

        Returns:
            What the pool's callback takes, or None: it is to be executed here.
        """
        traced = guarded(self._app.tasks[name], self._execute)
        elsewhere = traced(uuid, request["args"], request["kwargs"], request)
        if elsewhere is None:
            return None
        value, info, runtime, shown = elsewhere
        return (1, value, runtime) if info else (0, shown, runtime)

    def suspects(self, task: Any, context: Context) -> bool:
        """Return whether a process died under a redelivered task, or on the asyncio pool two.

        Waits while Redis is away.

        Raises:
            Reject: the worker stops while Redis is away; the broker keeps the message.
        """
        tracked = not ignores_result(task, context)
        least = self._least
        deaths: int = self._app.backend.suspicion(
            context.id, process_token(), tracked=tracked, twice=least == 2
        )
        return deaths >= least

    def stop(self, task_id: str, reason: str) -> bool:
        """Cancel the coroutine of a task that runs in a process of its own; see `isolated.stop`."""
        return isolated.stop(task_id, reason)

    def _execute(self, uuid: str, args: Any, kwargs: Any, request: Any) -> Any:
        """Execute a delivery in a process of its own, if it is a suspect.

        Returns:
            What Celery's tracer returns, or None: it is to be executed here.
        """
        task, backend = self._app.tasks[request["task"]], self._app.backend
        context = Context(request, called_directly=False)
        if not self.suspects(task, context):
            return None
        _logger.warning("a process died under it, run alone: task=%s task_id=%s", task.name, uuid)
        place = isolated.place_of(self._app)
        while place is not None:
            call = isolated.Call(place, process_token(), task.name, uuid, args, kwargs, request)
            try:
                failed, value, runtime, shown = isolated.run(call)
            except isolated.NotStartedError:
                _logger.exception("no process of its own: task=%s task_id=%s", task.name, uuid)
                return None
            except isolated.DiedError as died:
                try:
                    deaths = backend.charge(uuid)
                except RedisError as away:
                    _logger.warning("death of a process not counted: %s error=%r", uuid, away)
                    continue  # the next process waits for Redis before it executes
                _logger.error("its process died (%s): task_id=%s deaths=%d", died, uuid, deaths)  # noqa: TRY400  # its traceback is ours
                if deaths >= MAX_DEATHS:
                    return self._lost(task, context, WorkerLost.after(deaths, str(died)))
            else:
                if failed:
                    ending_of(uuid).answer = value
                return trace_ok_t(value, TraceInfo(FAILURE) if failed else None, runtime, shown)
        return None

    def _lost(self, task: Any, context: Context, error: WorkerLost) -> Any:
        """Record the end of a task, on the thread that would have executed it."""
        task.request_stack.push(context)
        try:
            raise error from None
        except WorkerLost:
            info = TraceInfo(FAILURE, error)
            return trace_ok_t(info.handle_error_state(task, context), info, 0.0, None)
        finally:
            task.request_stack.pop()
