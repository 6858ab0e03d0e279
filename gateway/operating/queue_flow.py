"""How one queue moves: starts a second, and the age of its oldest message. Pure.

What has arrived is what waits and what was taken. The oldest of those that wait is the one behind
those that were taken: it is as old as the moment when that many had arrived.

    arrived = waiting + taken       ▲ arrived            . · ˙ now
                                    │              . · ˙
    taken + 1 ──────────────────────┼─────── . · ˙ ◄── so many had arrived: the oldest did
                                    └─────────────────────────────► time

Workers count what they take a moment later: the line is a little low while messages move, and never
falls. Where it seems to fall by more than that, and stays so, messages have expired or were purged:
those in front.
"""

from bisect import bisect_left
from collections import deque

RATE_OVER_S = 30.0
RATE_LEAST_S = 5.0
"""Less of a past is no rate."""
_MOST_MARKS = 4096
"""Of the past of a queue; then every other one is forgotten."""
_GONE_AFTER_S = 5.0
_LATE_S = 1.0
"""How late the counts of workers may be."""


class QueueFlow:
    """The past of one queue, as far as it tells something of what waits now."""

    def __init__(self) -> None:
        self._at: list[float] = []
        self._arrived: list[int] = []
        """The line: ever more had arrived at these times."""
        self._unknown = 0
        """How many had arrived before the first look."""
        self._gone = 0
        """Messages that left in another way than to a worker."""
        self._lower_since: float | None = None
        self._gap = 0
        self._starts: deque[tuple[float, int]] = deque()
        self._taken = 0
        self.ready = 0
        """Messages that waited when looked at last."""
        self._looked_at = 0.0
        self._ready_since = 0.0
        self.started_at: float | None = None
        """When a task was seen to start last, or the look began; monotonic seconds."""

    def __repr__(self) -> str:
        """Show how much of the past is kept."""
        return f"<QueueFlow {self.ready} ready, {len(self._at)} marks>"

    def observe(self, now: float, ready: int, taken: int, started: int) -> None:
        """Take a look at the queue.

        Args:
            now: Monotonic seconds.
            ready: Messages that wait.
            taken: Messages that workers took, ever.
            started: Tasks that workers started, ever.
        """
        self._looked_at = now
        lost = taken < self._taken  # Redis lost its counts
        self._count_starts(now, started, lost=lost)
        if ready and not self.ready:
            self._ready_since = now
        self.ready, self._taken = ready, taken
        if lost or not self._at or not ready:
            self._at, self._arrived = [now], [ready + taken]
            self._unknown = ready + taken if ready else 0
            self._gone, self._lower_since = 0, None
            return
        arrived = ready + taken + self._gone
        late = 1 + (self.started_per_s or 0.0) * _LATE_S
        if arrived < self._arrived[-1] - late:
            self._seems_to_fall(now, self._arrived[-1] - arrived)
            return
        self._lower_since = None
        if arrived > self._arrived[-1]:
            self._at.append(now)
            self._arrived.append(arrived)
            if len(self._at) > _MOST_MARKS:
                self._at, self._arrived = self._at[::2], self._arrived[::2]

    def _seems_to_fall(self, now: float, gap: int) -> None:
        if self._lower_since is None:
            self._lower_since, self._gap = now, gap
        self._gap = min(self._gap, gap)
        if now - self._lower_since >= _GONE_AFTER_S:
            self._gone += self._gap
            self._lower_since = None

    def _count_starts(self, now: float, started: int, *, lost: bool) -> None:
        starts = self._starts
        if lost:
            starts.clear()
        elif starts:  # what was held, as the queue is paused, is taken back
            started = max(started, starts[-1][1])
        if self.started_at is None or (starts and started > starts[-1][1]):
            self.started_at = now
        starts.append((now, started))
        while len(starts) > 2 and starts[1][0] <= now - RATE_OVER_S:
            starts.popleft()

    @property
    def started_per_s(self) -> float | None:
        """Tasks started each second of the last half minute; None: not known yet."""
        if not self._starts:
            return None
        (since, first), (now, last) = self._starts[0], self._starts[-1]
        return (last - first) / (now - since) if now - since >= RATE_LEAST_S else None

    @property
    def drain_s(self) -> float | None:
        """Seconds until what waits has started, at the rate of now; None: never, or not known."""
        if not self.ready:
            return 0.0
        rate = self.started_per_s
        return self.ready / rate if rate else None

    @property
    def idle_s(self) -> float:
        """For how long messages waited and nothing was seen to start, until the last look.

        What happened since is not known: RabbitMQ may have been away, or not have answered.
        """
        if not self.ready or self.started_at is None:
            return 0.0
        return self._looked_at - max(self.started_at, self._ready_since)

    def oldest_s(self, now: float) -> float | None:
        """Return the age of the oldest message that waits; None: there is none, or not known.

        Args:
            now: Monotonic seconds.
        """
        place = self._taken + self._gone + 1
        if not self.ready or place <= self._unknown:
            return None
        found = bisect_left(self._arrived, place)
        return max(0.0, now - self._at[min(found, len(self._at) - 1)])
