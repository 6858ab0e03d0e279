"""How many messages workers have taken from each queue, and started: counted in Redis by all.

hash penstock:flow   field taken:<queue>, started:<queue>   whole numbers that only grow
"""

from collections.abc import Mapping
from dataclasses import dataclass

FLOW_KEY = "penstock:flow"
FLUSH_S = 0.25
"""How often a worker adds what it has counted."""
_TAKEN, _STARTED = "taken:", "started:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """Of one queue, since Redis has counted."""

    taken: int = 0
    """Messages delivered to workers for the first time."""
    started: int = 0
    """Tasks begun."""


def fields_of(taken: Mapping[str, int], started: Mapping[str, int]) -> dict[str, int]:
    """Return the fields of the hash, and what is to be added to each; nothing for zeros."""
    found = {f"{_TAKEN}{queue}": count for queue, count in taken.items()}
    found |= {f"{_STARTED}{queue}": count for queue, count in started.items()}
    return {field: count for field, count in found.items() if count}


def decode_flow(found: Mapping[bytes, bytes]) -> dict[str, Flow]:
    """Read the hash; what is no count is left out."""
    taken: dict[str, int] = {}
    started: dict[str, int] = {}
    for field, value in found.items():
        name = field.decode("utf-8", "replace")
        try:
            count = int(value)
        except ValueError:
            continue
        if name.startswith(_TAKEN):
            taken[name.removeprefix(_TAKEN)] = count
        elif name.startswith(_STARTED):
            started[name.removeprefix(_STARTED)] = count
    return {
        queue: Flow(taken=taken.get(queue, 0), started=started.get(queue, 0))
        for queue in taken.keys() | started.keys()
    }
