"""Route as a frozen value, which names its own faults: where a task goes, and on which terms."""

from collections.abc import Iterator
from dataclasses import dataclass

from penstock.wire.delay import MAX_KEY_BYTES
from topology.entities import key_faults

MAX_PRIORITY = 9
"""Of a message: what a submit may say."""
MAX_EXPIRES_S = 366 * 24 * 3600
ROUTE_OPTIONS = ("priority", "expires")
"""Options that a route gives a submit which names none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where a task goes when its caller names no queue."""

    task: str
    """A task name, or an ``fnmatch`` pattern."""
    exchange: str
    routing_key: str
    privileged: bool = False
    """Whether a caller needs the exact name on an allow-list, and may not send it elsewhere."""
    announced: bool = True
    """Whether a task that the pattern names and no worker announces is refused (404) where every
    consumer of its queue announces; False: the pattern alone decides."""
    ignore_result: bool = False
    """Whether its workers store no result, whatever a submit says: there is no state to ask for."""
    show_arguments: bool = True
    """Whether Flower, `celery inspect` and events show the arguments, bounded; False: secrets."""
    keep_arguments: bool = True
    """Whether history may keep the arguments, so that it can be retried; False: secrets."""
    priority: int | None = None
    """Of a submit that names none, 0 to 9."""
    expires: float | None = None
    """Of a submit that names none: seconds from then, or from when a worker publishes the task."""

    @property
    def defaults(self) -> tuple[tuple[str, float], ...]:
        """The options of a submit that names none of its own."""
        named = ((name, getattr(self, name)) for name in ROUTE_OPTIONS)
        return tuple((name, value) for name, value in named if value is not None)

    @property
    def is_pattern(self) -> bool:
        """Whether it names tasks by a pattern."""
        return any(character in self.task for character in "*?[")

    def faults(self, *, ours: bool = True) -> Iterator[str]:
        """Yield a sentence for everything that is wrong with this route alone.

        Args:
            ours: whether all that it leads to is ours, so that its key must fit a delay key.
        """
        here = f"route {self.task!r}"
        if not self.task:
            yield f"{here}: a route needs a task name or pattern"
        if self.routing_key and ours:
            yield from (f"{here}: {fault}" for fault in key_faults(self.exchange, self.routing_key))
        elif len(self.routing_key.encode()) > MAX_KEY_BYTES:
            yield f"{here}: routing_key is longer than {MAX_KEY_BYTES} bytes"
        if self.priority is not None and not 0 <= self.priority <= MAX_PRIORITY:
            yield f"{here}: priority is {self.priority}, 0 to {MAX_PRIORITY} are possible"
        if self.expires is not None and not 0 < self.expires <= MAX_EXPIRES_S:
            yield f"{here}: expires is {self.expires:g} s, over 0 to {MAX_EXPIRES_S} are possible"
