"""Redeliveries, under which a process may have died: looked at before the event loop has them.

redelivered ── this process had it when its connection was lost ─► the event loop
     │                                                                 ▲
     └─► Redis: did a process die under it? ── no ─────────────────────┘
                      └ yes ─► a process of its own, `ALONE` at a time
"""

import logging
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

from billiard.einfo import ExceptionInfo

from penstock.worker.asyncio_pool.execution import Execution

ALONE = 8
"""Processes at once for tasks under which one died."""

_logger = logging.getLogger(__name__)


class Redeliveries:
    """Decides about redeliveries, for the consumer's thread.

    Args:
        admit: lets an execution begin on the event loop; on the consumer's thread.
        post: hands a call to the consumer's thread.
    """

    def __init__(
        self, admit: Callable[[Execution], None], post: Callable[[Callable[[], Any]], None]
    ) -> None:
        self._admit = admit
        self._post = post
        self._looking = ThreadPoolExecutor(1, thread_name_prefix="redeliveries")
        self._alone = ThreadPoolExecutor(ALONE, thread_name_prefix="alone")
        self._held: set[str] = set()
        self.suspects: Any = None
        """Executes in processes of their own, where the app has that."""
        self.open = 0
        """How many have not been decided, or run alone."""

    def __repr__(self) -> str:
        """Tell how many are open."""
        return f"<Redeliveries {self.open} open>"

    def remember(self, executions: Iterable[Execution]) -> None:
        """Know what this process had when its connection was lost: it has not died."""
        self._held = {one.task_id for one in executions}

    def takes(self, execution: Execution) -> bool:
        """Look at an execution, unless nothing can be wrong with it; then return False."""
        redelivered = (execution.request.get("delivery_info") or {}).get("redelivered")
        if not redelivered or self.suspects is None:
            return False
        if execution.task_id in self._held:
            self._held.discard(execution.task_id)
            return False
        self._submit(self._looking, self._look, execution)
        return True

    def close(self, *, wait: bool) -> None:
        """End the threads: when they are done, or without what has not begun."""
        for threads in (self._looking, self._alone):
            threads.shutdown(wait=wait, cancel_futures=not wait)

    def _submit(
        self,
        threads: ThreadPoolExecutor,
        function: Callable[[Execution], None],
        execution: Execution,
    ) -> None:
        future = threads.submit(function, execution)
        self.open += 1
        future.add_done_callback(lambda done: self._post(partial(self._ended, execution, done)))

    def _ended(self, execution: Execution, done: "Future[None]") -> None:
        self.open -= 1
        error = None if done.cancelled() else done.exception()
        if error is not None:
            _logger.error("end not handled: %r", execution, exc_info=error)

    def _look(self, execution: Execution) -> None:
        try:
            suspect = self.suspects.suspects(execution.plan.task, execution.context)
        except Exception:  # noqa: BLE001  # what guards its execution alone ends it
            suspect = True
        if suspect:
            self._post(partial(self._submit, self._alone, self._execute_alone, execution))
        else:
            self._post(partial(self._admit, execution))

    def _execute_alone(self, execution: Execution) -> None:
        execution.stopper = self._stop
        execution.accept()
        try:
            answer = self.suspects.execute_elsewhere(
                execution.plan.task.name, execution.task_id, execution.request
            )
        except Exception:
            _logger.exception("not executed: %r", execution)
            execution.break_off(ExceptionInfo())
            return
        if answer is None:
            self._post(partial(self._admit, execution))
        else:
            execution.end(answer)

    def _stop(self, execution: Execution) -> None:
        self.suspects.stop(execution.task_id, execution.stop_reason)
