"""The pool as Celery calls it, and the thread of the consumer's side of it."""

import gc
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from billiard.einfo import ExceptionInfo
from celery.app.trace import trace_task
from celery.concurrency.base import BasePool, apply_target
from celery.concurrency.thread import ApplyResult
from celery.exceptions import ImproperlyConfigured
from celery.worker import state as worker_state

from penstock.worker.asyncio_pool.amqp_frames import Delivery
from penstock.worker.asyncio_pool.amqp_reader import Reader
from penstock.worker.asyncio_pool.execution import Callbacks, Execution
from penstock.worker.asyncio_pool.executor import Executor
from penstock.worker.asyncio_pool.fast_path import FastPath
from penstock.worker.asyncio_pool.heartbeats import keep_alive
from penstock.worker.asyncio_pool.outbox import Outbox
from penstock.worker.asyncio_pool.plans import Plan, plan_of
from penstock.worker.asyncio_pool.prefetch_windows import PrefetchWindows
from penstock.worker.asyncio_pool.redeliveries import Redeliveries
from penstock.worker.asyncio_pool.requests import stoppable
from penstock.worker.asyncio_pool.task_events import TaskEvents
from penstock.worker.asyncio_pool.watchdog import BLOCKED_LOOP_S, Watchdog
from penstock.worker.ending.pool_calls import guarded_call
from penstock.worker.errors import LoopLostError
from penstock.worker.messages.envelope import is_delivery, parts_of
from penstock.worker.running import local_stacks
from penstock.worker.running.runtime import Limits, Runtime

FUNCTION_THREADS = 8
"""Threads for functions, unless `-c` is less: they compute, or block, and more would not help."""
GC_THRESHOLD = 20_000
"""Objects made and kept before Python looks for cycles: 700 would look through all that runs."""
_CLEAN_UP_S = 5.0
"""How long coroutines may clean up in a worker that is terminated."""
_LOOK_S = 0.05
"""How often a worker that stops looks for what is left."""

_STRATEGY = "penstock.worker.asyncio_pool.intake:strategy"
_making = threading.Lock()
_logger = logging.getLogger(__name__)


class TaskPool(BasePool):  # type: ignore[misc]  # Celery has no types
    """Executes coroutines on one event loop, and functions on threads.

    `limit` (`-c`) is how many coroutines run at once; what else was delivered waits.
    """

    body_can_be_buffer = True
    signal_safe = False
    task_join_will_block = True

    def __init__(self, limit: int | None = None, **options: Any) -> None:
        super().__init__(limit, **options)
        self._refuse_what_is_for_processes(options)
        self.outbox = Outbox()
        self._plans: dict[str, Plan] = {}
        self._strategies: dict[str, Any] = {}
        self._consumer: Any = None
        self._running = 0
        self._waiting: deque[Execution] = deque()
        self._open: set[Execution] = set()
        """Coroutines that were begun and not handed back."""
        self._inbox: deque[Execution] = deque()
        self._inbox_is_due = False
        self._thread_count = min(self.limit, FUNCTION_THREADS)
        self._threads = ThreadPoolExecutor(self._thread_count, thread_name_prefix="functions")
        self._executor: Executor | None = None
        self._watchdog: Watchdog | None = None
        self.windows: Any = None
        """Of the connection."""
        self._functions = 0
        """What was handed to the threads and has not ended."""
        self._stopping = False
        self._redeliveries = Redeliveries(self._admit, self.outbox.post)

    @property
    def suspects(self) -> Any:
        """What executes redeliveries in processes of their own; None: the app has not that."""
        return self._redeliveries.suspects

    @suspects.setter
    def suspects(self, suspects: Any) -> None:
        self._redeliveries.suspects = suspects

    def _refuse_what_is_for_processes(self, options: dict[str, Any]) -> None:
        for option, setting in (
            ("maxtasksperchild", "worker_max_tasks_per_child (--max-tasks-per-child)"),
            ("max_memory_per_child", "worker_max_memory_per_child (--max-memory-per-child)"),
        ):
            if options.get(option):
                _logger.critical(
                    "%s is for pools of processes; the asyncio pool has one, which is not "
                    "replaced: leave the setting out, or use --pool=prefork",
                    setting,
                )
                raise SystemExit(os.EX_CONFIG)

    def on_start(self) -> None:
        """Prepare the tasks; Celery makes their strategies and tracers after this."""
        if self.app is None:
            raise ImproperlyConfigured("the asyncio pool needs an application")
        tasks = self.app.tasks
        local_stacks.prepare(tasks.values())
        # What was imported stays; what tasks leave behind is mostly freed without the collector.
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD, 20, 50)
        hostname = self.options.get("initargs", (None, None))[1]
        for name, task in tasks.items():
            if task.Strategy != _STRATEGY:
                self._strategies[name] = task.Strategy
                task.Strategy = _STRATEGY
            task.Request = stoppable(task.Request)
            plan = plan_of(task, self.app, hostname, lambda: self.executor.runtime)
            if plan is not None:
                self._plans[name] = plan

        blocked_s = self.app.conf.get("penstock_blocked_loop_s", BLOCKED_LOOP_S)
        self._watchdog = Watchdog(self._runtime_so_far, float(blocked_s), lambda: self.executor)
        self._watchdog.start()

    def _runtime_so_far(self) -> Runtime | None:
        return None if self._executor is None else self._executor.runtime

    @property
    def blocked(self) -> int:
        """How often a coroutine has held the event loop for too long."""
        return 0 if self._watchdog is None else self._watchdog.times

    @property
    def blocked_s(self) -> float:
        """For how long a coroutine has held the event loop; 0: none does for too long."""
        return 0.0 if self._watchdog is None else self._watchdog.blocked_s

    def strategy_of(self, task: Any) -> Any:
        """Return the strategy that a task had before."""
        return self._strategies.get(task.name)

    def attend(self, consumer: Any) -> bool:
        """Know Celery's consumer; return whether it is the first."""
        before, self._consumer = self._consumer, consumer
        return before is None

    def register_with_event_loop(self, loop: Any) -> None:
        """Be called by Celery's event loop: a connection was made."""
        self._redeliveries.remember((*self._open, *self._waiting))  # of the connection before
        self._waiting.clear()
        self.outbox.attach(loop)
        consumer = self._consumer
        if consumer is None:
            return
        self.windows = PrefetchWindows(consumer, self.outbox.post, self._is_crowded)
        dispatcher = consumer.event_dispatcher
        events = (
            None if dispatcher is None else TaskEvents(dispatcher, consumer.timer, self.outbox.post)
        )
        if not any(plan.ours for plan in self._plans.values()):
            return
        connection = consumer.task_consumer.channel.connection
        if Reader.reads(connection):
            lane = FastPath(consumer, self._plans, self.outbox, self.windows, events)
            channel_id = consumer.task_consumer.channel.channel_id
            reader = Reader(connection, channel_id, partial(self._take, lane), lane.told)
            loop.add_reader(connection.sock, reader.on_readable)

    def _is_crowded(self) -> bool:
        """Return whether more functions wait than will soon begin."""
        return bool(self._functions > 2 * self._thread_count)

    def _take(self, lane: FastPath, delivery: Delivery) -> bool:
        """Execute a plain delivery; False: it is Celery's."""
        try:
            execution = lane.execution_of(delivery)
        except Exception:  # whatever is in a message; Celery's way has a guard
            _logger.exception("left to Celery: routing_key=%s", delivery.routing_key)
            return False
        if execution is None:
            return False
        self._admit(execution)
        return True

    def on_apply(  # Celery's
        self,
        target: Callable[..., Any],
        args: Any = None,
        kwargs: Any = None,
        callback: Callable[..., Any] | None = None,
        accept_callback: Callable[..., Any] | None = None,
        error_callback: Callable[..., Any] | None = None,
        timeout: float | None = None,
        soft_timeout: float | None = None,
        **_: Any,
    ) -> Any:
        """Execute a task; the consumer's thread calls it."""
        plan = self._plans.get(args[0]) if is_delivery(args) else None
        callbacks = Callbacks(callback, accept_callback, error_callback)
        if plan is None:
            return self._on_thread(target, args or (), kwargs, callbacks)
        try:
            (request := args[2]).update(parts_of(self.app, *args[3:]))
            execution = Execution(plan, request, callbacks, Limits(timeout, soft_timeout))
        except Exception:  # noqa: BLE001  # whatever is in a message; the consumer must live
            if error_callback is not None:
                error_callback(ExceptionInfo())
            return None
        if not self._redeliveries.takes(execution):
            self._admit(execution)
        return execution

    def _on_thread(self, target: Any, args: Any, kwargs: Any, callbacks: Callbacks) -> ApplyResult:
        options = callbacks.options
        if is_delivery(args):
            call = target if self.suspects is None else partial(self.suspects.call, target)
            target, options = guarded_call(call, options)
        self._functions += 1
        future = self._threads.submit(apply_target, target, args, kwargs, **options)
        future.add_done_callback(lambda _: self.outbox.post(self._function_ended))
        return ApplyResult(future)

    def _function_ended(self) -> None:
        self._functions -= 1

    def _admit(self, execution: Execution) -> None:
        """Let an execution begin, or wait until another has ended."""
        if self._running < self.limit and not self._stopping:
            self._begin(execution)
        else:
            execution.stopper = self._stop_waiting
            self._waiting.append(execution)

    def _stop_waiting(self, execution: Execution) -> None:
        """End an execution at once that is stopped before its turn; on the consumer's thread."""
        if execution in self._waiting:
            self._waiting.remove(execution)
            self._begin(execution)

    def _begin(self, execution: Execution) -> None:
        self._running += 1
        self._open.add(execution)
        execution.accept()
        self._inbox.append(execution)
        if not self._inbox_is_due:
            self._inbox_is_due = True
            try:
                self.executor.runtime.call(self._take_inbox)
            except LoopLostError:
                self.executor.runtime.call(self._take_inbox)  # of the new one

    def _take_inbox(self) -> None:
        """Begin what has come; on the loop's thread."""
        self._inbox_is_due = False
        executor, inbox = self.executor, self._inbox
        for _ in range(len(inbox)):
            executor.begin(inbox.popleft())

    @property
    def executor(self) -> Executor:
        """What executes on the event loop; another one when the loop was lost."""
        executor = self._executor
        if executor is None or executor.runtime.lost:
            with _making:
                executor = self._executor
                if executor is None or executor.runtime.lost:
                    runtime = getattr(self.app, "runtime", None) or Runtime(None)
                    redis_url = getattr(self.app, "redis_url", None)
                    limits = Limits(self.options.get("timeout"), self.options.get("soft_timeout"))
                    executor = Executor(
                        runtime, redis_url, self._hand_back, self._run_elsewhere, limits
                    )
                    lost, self._executor = self._executor, executor
                    if lost is not None:
                        self.outbox.post(partial(self._go_on, lost))
        return executor

    def _go_on(self, lost: Executor) -> None:
        """Go on after an event loop was lost; what ran on it has ended with LoopLostError."""
        lost.give_up()
        self._inbox_is_due = True
        self.executor.runtime.call(self._take_inbox)

    def _hand_back(self, execution: Execution, answer: Any) -> None:
        """Take an execution that has ended, from any thread."""
        self.outbox.post(partial(self._end, execution, answer))

    def _end(self, execution: Execution, answer: Any) -> None:
        """Call what Celery does at an end, and let the next one begin; on the consumer's thread."""
        if execution in self._open:
            self._open.discard(execution)
            self._running -= 1
        try:
            execution.end(answer)
        finally:
            self._admit_waiting()

    def _admit_waiting(self) -> None:
        while self._waiting and self._running < self.limit and not self._stopping:
            self._begin(self._waiting.popleft())

    def _run_elsewhere(self, execution: Execution) -> None:
        """Execute a task in Celery's own way; on a helper's thread."""
        answer = None
        try:
            task = execution.plan.task
            value, info, runtime_s, shown = trace_task(
                task, execution.task_id, execution.args, execution.kwargs, execution.request
            )
            answer = (1, value, runtime_s) if info else (0, shown, runtime_s)
        except BaseException:  # a delivery must not stay open for ever
            _logger.exception("not executed: %r", execution)
        try:
            execution.end(answer)
        except Exception:
            _logger.exception("end not handled: %r", execution)
        finally:
            self._hand_back(execution, None)

    def grow(self, n: int = 1) -> None:
        """Let more coroutines run at once (`celery control pool_grow`)."""
        self.limit += n
        self._thread_count = min(self.limit, FUNCTION_THREADS)
        self._threads._max_workers = self._thread_count  # noqa: SLF001  # started when needed
        self._admit_waiting()

    def shrink(self, n: int = 1) -> None:
        """Let fewer coroutines run at once; those that run go on.

        Raises:
            ValueError: none would be left.
        """
        if n >= self.limit:
            raise ValueError("a pool needs room for one coroutine")
        self.limit -= n

    def terminate_job(self, pid: int, signal: Any = None) -> None:  # Celery's
        """Refuse: a coroutine is stopped by its request, and a thread cannot be.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("a function on a thread cannot be stopped")

    def on_stop(self) -> None:
        """Let what runs end, and answer the broker, while Celery's event loop stands still."""
        self._stopping = True
        self._waiting.clear()  # not acknowledged: the broker delivers them again
        if self.windows is not None:
            self.windows.cancel()
        beat_at, give_up_at = 0.0, None
        while self._open or self._functions or self._redeliveries.open:
            self.outbox.deliver()
            now = time.monotonic()
            if now > beat_at:
                beat_at = now + 1.0
                keep_alive(getattr(self._consumer, "connection", None))
            if give_up_at is None and worker_state.should_terminate:
                give_up_at = now + _CLEAN_UP_S  # Celery has stopped what runs
            if give_up_at is not None and now > give_up_at:
                break
            time.sleep(_LOOK_S)
        self._threads.shutdown(wait=give_up_at is None)
        self._redeliveries.close(wait=give_up_at is None)
        if self._executor is not None:
            self._executor.close(wait=give_up_at is None)
        self.outbox.deliver()

    def on_terminate(self) -> None:
        """Stop what runs: the broker delivers it again."""
        self._stopping = True
        self._waiting.clear()
        for execution in tuple(self._open):
            execution.stop("connection-lost")
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._redeliveries.close(wait=False)
        until = time.monotonic() + _CLEAN_UP_S
        while self._open and time.monotonic() < until:
            self.outbox.deliver()
            time.sleep(_LOOK_S)
        self.outbox.deliver()

    def _get_info(self) -> dict[str, Any]:
        """Return what `celery inspect stats` shows."""
        return {
            **super()._get_info(),
            "coroutines": self._running,
            "waiting": len(self._waiting),
            "functions": self._functions,
            "prefetch": self.windows.sizes() if self.windows is not None else {},
        }
