"""Whether the loops of a worker go round.

A thread tells of a worker, and would go on to tell long after it has stopped working.
"""

import threading
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

from celery.utils.log import get_logger

from penstock.wire.announcements import SILENT_AFTER_S
from penstock.worker.process import stack_of

BEAT_S = 1.0
"""How often Celery's loop is asked to come by; the one without a hub comes every two seconds."""
STILL_AFTER_S = 5.0
"""A loop that has not come for so long stands still; less is a busy machine."""

_logger = get_logger(__name__)


class Pulse:
    """Knows when the loops of a worker last went round.

    Args:
        pool_blocked_s: returns for how long the pool's own event loop has been held, seconds.
        on_beat: is called by Celery's loop with each beat.
    """

    def __init__(
        self, pool_blocked_s: Callable[[], float], on_beat: Callable[[], None] = lambda: None
    ) -> None:
        self._pool_blocked_s = pool_blocked_s
        self._on_beat = on_beat
        self._at: float | None = None
        self._entry: Any = None
        self._thread = 0
        self._told = False

    def __repr__(self) -> str:
        """Tell for how long they have stood still."""
        return f"<Pulse still for {self.still_s():.1f} s>"

    def watched(self, loop: Callable[..., Any]) -> Callable[..., Any]:
        """Return Celery's loop, which is expected to beat while it goes on.

        Before and after it a worker connects, or waits for what runs: it has no loop then.
        """

        @wraps(loop)
        def run(*args: Any, **kwargs: Any) -> Any:
            self._thread = threading.get_ident()
            self._at = time.monotonic()
            try:
                return loop(*args, **kwargs)
            finally:
                self._at = None

        return run

    def begin(self, timer: Any) -> None:
        """Have the loop beat, with each connection anew: Celery clears its timer between them.

        Args:
            timer: of its hub; None: it has none, and calls `beat` itself.
        """
        if timer is not None:
            if self._entry is not None:
                timer.cancel(self._entry)
            self._entry = timer.call_repeatedly(BEAT_S, self.beat)

    def beat(self) -> None:
        """Be called by the loop, each time that it comes round."""
        if self._at is not None:
            self._at = time.monotonic()
        self._on_beat()

    def still_s(self) -> float:
        """Return for how long a loop has stood still; 0: all go round, or none is to."""
        at = self._at
        own_s = 0.0 if at is None else time.monotonic() - at
        still_s = max(own_s, self._pool_blocked_s())
        return still_s if still_s > STILL_AFTER_S else 0.0

    def seen_at(self) -> float:
        """Return when this worker was last well, unix seconds; log it once it counts as silent."""
        still_s = self.still_s()
        if still_s < SILENT_AFTER_S:
            self._told = False
        elif not self._told:
            self._told = True
            stack = stack_of(self._thread)
            _logger.error("this worker has stood still for %.0f s, in:\n%s", still_s, stack)
        return time.time() - still_s
