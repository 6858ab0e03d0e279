"""The slots of this worker: how many there are, how many are busy, and which do not come back.

A pool ends what is over its time limit; a thread cannot be ended, and a pool may fail to. A task
that is over its hard limit by SLOT_GRACE_S is ended here as TimeLimitExceeded, its slot counts as
lost, and the worker replaces itself: it takes no more, lets the others end, and ends so that
whoever started it (`restart` of compose, the supervisor of `make run`) starts it again.
"""

import logging
import os
import time
from collections.abc import Callable
from typing import Any

from celery.worker import state as worker_state

from penstock.looper import ThreadLooper
from penstock.wire.announcements import RunningTask, SlotCounts

LOOK_S = 1.0
END_WITHIN_S = 300.0
"""How long the other tasks of a worker that replaces itself may take; then they are redelivered."""

_logger = logging.getLogger(__name__)


class Slots:
    """Looks at the slots of a worker from a thread of its main process.

    Args:
        size: returns how many there are.
        blocked: returns how often the event loop was blocked.
        grace_s: seconds beyond a hard limit after which a slot is lost.
    """

    def __init__(self, size: Callable[[], int], grace_s: float, blocked: Callable[[], int]) -> None:
        self._size = size
        self._blocked = blocked
        self._grace_s = grace_s
        self._lost: dict[str, Any] = {}
        """Requests by the id of their task."""
        self._looper = ThreadLooper("slots", self._turn, interval_s=LOOK_S)

    def __repr__(self) -> str:
        """Show the counts."""
        return f"<Slots {self.counts()}>"

    def counts(self) -> SlotCounts:
        """Return how many slots there are, are busy, and are lost."""
        lost = len(self._lost)
        busy = len(_active()) + lost
        return SlotCounts(
            slots=self._size(),
            busy=busy,
            lost=lost,
            blocked=self._blocked(),
            processed=worker_state.all_total_count[0],
        )

    def running(self) -> list[RunningTask]:
        """Return what is in the slots, lost ones included."""
        return [
            RunningTask(
                task_id=request.id,
                task=request.name,
                start=request.time_start,
                queue=(request.delivery_info or {}).get("queue"),
                limit_s=_limit_s(request),
            )
            for request in {*_active(), *self._lost.values()}
            if request.time_start
        ]

    def watch(self) -> None:
        """Begin to look, once."""
        if not self._looper.alive:
            self._looper.start()

    def _turn(self) -> None:
        self.look(time.time())
        if self._lost:
            replace_worker(lambda: len(_active()))

    def look(self, now: float) -> None:
        """Find the slots that are lost, and end what is in them.

        Args:
            now: unix seconds.
        """
        for request in _active():
            limit_s = _limit_s(request)
            if limit_s is None or request.id in self._lost:
                continue
            if request.time_start and now - request.time_start > limit_s + self._grace_s:
                self._lost[request.id] = request
                _logger.critical(
                    "slot lost: task=%s task_id=%s limit_s=%g", request.name, request.id, limit_s
                )
                request.on_timeout(False, limit_s)  # noqa: FBT003  # Celery's: the hard one


def replace_worker(left: Callable[[], int]) -> None:
    """Stop this worker warmly, and end its process when only lost tasks are left.

    A stop alone would wait for the thread of a lost task for ever.

    Args:
        left: returns how many tasks run that are not lost.
    """
    _logger.critical("the worker replaces itself: it lost a slot")
    time.sleep(LOOK_S)  # the lost task is acknowledged
    worker_state.should_stop = os.EX_TEMPFAIL
    deadline = time.monotonic() + END_WITHIN_S
    while left() and time.monotonic() < deadline:
        time.sleep(LOOK_S)
    time.sleep(LOOK_S)  # as above
    os._exit(os.EX_TEMPFAIL)


def _active() -> list[Any]:
    """Requests that hold a slot; the set is changed by other threads meanwhile."""
    while True:
        try:
            return list(worker_state.active_requests)
        except RuntimeError:
            continue


def _limit_s(request: Any) -> float | None:
    # A class of requests that a task brings along may be no class of ours.
    own = request.time_limits[0] or request.task.time_limit
    limit_s = getattr(request, "limit_s", own)
    return float(limit_s) if limit_s else None
