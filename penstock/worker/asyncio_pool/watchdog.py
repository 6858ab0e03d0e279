"""Names the coroutine that holds the event loop: while it computes, no other goes on.

No time limit ends it: those are the loop's. The connection to the broker is kept by another thread.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from celery.worker import state

from penstock.looper import ThreadLooper
from penstock.worker.errors import LoopLostError
from penstock.worker.process import stack_of
from penstock.worker.running.runtime import Runtime

BLOCKED_LOOP_S = 1.0
"""Unless the setting `penstock_blocked_loop_s` says otherwise."""
_LOOKS = 4
"""Within that time."""
LOOK_S = 1.0
"""Between looks whether the loop is there at all."""

_logger = logging.getLogger(__name__)


class Watchdog:
    """Calls the event loop again and again, and looks whether it comes.

    Args:
        runtime: returns the loop, which may be another one after a loss; None: there is none yet.
        blocked_s: seconds after which it is blocked; 0: that is not looked for.
        replace: makes another loop in place of one that is lost.
    """

    def __init__(
        self,
        runtime: Callable[[], Runtime | None],
        blocked_s: float,
        replace: Callable[[], Any],
    ) -> None:
        self._runtime = runtime
        self._replace = replace
        self._blocked_s = blocked_s
        self.times = 0
        """How often it was blocked."""
        self._called_at: float | None = None
        self._logged = False
        self._looper = ThreadLooper(
            "loop-watchdog",
            self._look,
            interval_s=max(blocked_s / _LOOKS, 0.05) if blocked_s else LOOK_S,
        )

    def start(self) -> None:
        """Begin to look."""
        if not self._looper.alive:
            self._looper.start()

    @property
    def blocked_s(self) -> float:
        """For how long the loop has been blocked; 0: it is not."""
        called_at = self._called_at
        return time.monotonic() - called_at if self._logged and called_at is not None else 0.0

    def _look(self) -> None:
        runtime = self._runtime()
        if runtime is None:
            return
        if runtime.lost:
            self._called_at, self._logged = None, False
            self._replace()
        elif not self._blocked_s:
            return
        elif self._called_at is None:
            self._called_at = time.monotonic()
            try:
                runtime.call(self._came)
            except LoopLostError:
                self._called_at = None
        elif not self._logged and time.monotonic() - self._called_at > self._blocked_s:
            self._logged = True
            self.times += 1
            _log(runtime, self._blocked_s)

    def _came(self) -> None:
        """Be called by the loop."""
        called_at, self._called_at = self._called_at, None
        if self._logged and called_at is not None:
            self._logged = False
            _logger.warning("the event loop goes on after %.1f s", time.monotonic() - called_at)


def _log(runtime: Runtime, blocked_s: float) -> None:
    task = asyncio.current_task(runtime.loop)
    task_id = runtime.task_id_of(task)
    request = state.requests.get(task_id) if task_id is not None else None
    _logger.error(
        "the event loop is blocked: task=%s task_id=%s for_s=%g\n%s",
        getattr(request, "name", None),
        task_id,
        blocked_s,
        stack_of(runtime.thread_id),
    )
