"""What workers count of tasks, added up in Redis by all: it outlives each worker and gateway.

hash penstock:counts   whole numbers that only grow

    ended:<state>:<task>      tasks that ended in this state
    retried::<task>           attempts that were published again
    run:<bucket>:<task>       executions by how long they took; `run:us:<task>`: microseconds in all
    wait:<bucket>:<queue>     starts by how long they were due; `wait:us:<queue>`
    documents:<outcome>:      documents of batches: stored, duplicate, failed

A bucket is an index into the bounds; one behind the last has no bound.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

COUNTS_KEY = "penstock:counts"
FLUSH_S = 3.0
"""How often a process adds what it has counted."""
RUN_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
                1800.0)  # fmt: skip
"""Upper bounds of the buckets of running times, seconds."""
WAIT_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
                 1800.0, 7200.0)  # fmt: skip
"""Upper bounds of the buckets of waiting times, seconds."""
MAX_NAMES = 500
"""Names of tasks, and of queues, that are counted apart; further ones are counted as OTHER."""
OTHER = "other"
ENDED, RETRIED, RUN, WAIT, DOCUMENTS = "ended", "retried", "run", "wait", "documents"
SUM = "us"
STATES = frozenset(("SUCCESS", "FAILURE", "REVOKED"))

Key = tuple[str, str | int, str]
"""Kind; state, bucket or outcome; task or queue."""


def field_of(key: Key) -> str:
    """Return the field of the hash."""
    kind, detail, name = key
    return f"{kind}:{detail}:{name}"


def key_of(text: str) -> Key | None:
    """Read a field of the hash; None: it is of no kind that is known."""
    kind, _, rest = text.partition(":")
    detail, mark, name = rest.partition(":")
    if not mark or kind not in {ENDED, RETRIED, RUN, WAIT, DOCUMENTS}:
        return None
    return kind, int(detail) if detail.isdecimal() else detail, name


def folded(keys: Iterable[Key], known: set[str]) -> dict[Key, Key]:
    """Return under which key each is counted, so that names stay few.

    Args:
        keys: To be counted.
        known: Names that are counted apart; new ones are added while there is room.
    """
    found = {}
    for key in keys:
        kind, detail, name = key
        if name and name not in known:
            if len(known) < MAX_NAMES:
                known.add(name)
            else:
                key = (kind, detail, OTHER)  # noqa: PLW2901  # the same, folded
        found[(kind, detail, name)] = key
    return found


@dataclass(slots=True)
class Times:
    """A histogram."""

    counts: list[int]
    total_s: float = 0.0


@dataclass(slots=True)
class TaskCounts:
    """All that was counted."""

    ended: dict[tuple[str, str], int] = field(default_factory=dict)
    """By task and state."""
    retried: dict[str, int] = field(default_factory=dict)
    """By task."""
    run: dict[str, Times] = field(default_factory=dict)
    """By task."""
    wait: dict[str, Times] = field(default_factory=dict)
    """By queue."""
    documents: dict[str, int] = field(default_factory=dict)
    """By outcome."""


def decode_counts(found: Mapping[bytes, bytes]) -> TaskCounts:
    """Read the hash; what is no count is left out."""
    counts = TaskCounts()
    for text, value in found.items():
        key = key_of(text.decode("utf-8", "replace"))
        try:
            number = int(value)
        except ValueError:
            continue
        match key:
            case ("ended", str(state), name) if state in STATES:
                counts.ended[name, state] = number
            case ("retried", _, name):
                counts.retried[name] = number
            case ("documents", str(outcome), _):
                counts.documents[outcome] = number
            case ("run", detail, name):
                _add(counts.run, name, detail, number, len(RUN_BOUNDS_S))
            case ("wait", detail, name):
                _add(counts.wait, name, detail, number, len(WAIT_BOUNDS_S))
    return counts


def _add(into: dict[str, Times], name: str, detail: str | int, number: int, bounds: int) -> None:
    times = into.setdefault(name, Times([0] * (bounds + 1)))
    if detail == SUM:
        times.total_s = number / 1e6
    elif isinstance(detail, int) and detail <= bounds:
        times.counts[detail] = number
