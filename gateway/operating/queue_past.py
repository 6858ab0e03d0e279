"""How many messages entered and left a queue, in each half minute of the last hour. Pure.

What has arrived is what waits and what was taken; both are looked at each second. Workers count
what they take a moment later than it leaves the queue: in a half minute that evens out.
"""

from collections import deque
from typing import Final

STEP_S: Final = 30
"""Length of a step, in seconds."""
STEPS: Final = 120
"""Steps that are kept: an hour."""
_LEAST_S: Final = 3.0
"""Less of a step is no rate."""

Rate = float | None
"""Messages each second; None: not known."""


class QueuePast:
    """The last hour of one queue."""

    def __init__(self) -> None:
        self._steps: deque[tuple[int, float, float]] = deque(maxlen=STEPS)
        """Step, and the rates in and out while it lasted."""
        self._step = -1
        self._since = 0.0
        self._at = 0.0
        self._first = (0, 0)
        self._last = (0, 0)

    def __repr__(self) -> str:
        """Show how much is kept."""
        return f"<QueuePast {len(self._steps)} steps>"

    def observe(self, now: float, ready: int, taken: int) -> None:
        """Take a look at the queue.

        Args:
            now: Seconds since the epoch.
            ready: Messages that wait.
            taken: Messages that workers took, ever.
        """
        step, seen = int(now // STEP_S), (ready + taken, taken)
        lost = taken < self._last[1]  # Redis lost its counts
        if self._step < 0 or lost or step > self._step + 1:
            self._close()
            self._step, self._since, self._first = step, now, seen
        elif step != self._step:
            self._last, self._at = seen, now
            self._close()
            self._step, self._since, self._first = step, now, seen
        self._last, self._at = seen, now

    def rates(self, now: float) -> tuple[list[Rate], list[Rate]]:
        """Return the rates in and out, oldest first, up to the step of now.

        Args:
            now: Seconds since the epoch.
        """
        last = int(now // STEP_S)
        entered: list[Rate] = [None] * STEPS
        left: list[Rate] = [None] * STEPS
        current = self._rates()
        steps = [*self._steps, *([(self._step, *current)] if current else [])]
        for step, came, went in steps:
            place = STEPS - 1 - (last - step)
            if 0 <= place < STEPS:
                entered[place], left[place] = round(came, 2), round(went, 2)
        return entered, left

    def _close(self) -> None:
        if self._step >= 0 and (rates := self._rates()) is not None:
            self._steps.append((self._step, *rates))

    def _rates(self) -> tuple[float, float] | None:
        """Return the rates of the step that goes on; None: it has hardly begun."""
        lasted = self._at - self._since
        if lasted < _LEAST_S:
            return None
        came, went = (last - first for first, last in zip(self._first, self._last, strict=True))
        return max(0.0, came / lasted), max(0.0, went / lasted)
