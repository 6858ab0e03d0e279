"""What workers report of documents that wait for MongoDB, or that it refused.

hash penstock:document-troubles   field <host>:<process>   JSON of `Troubles`

A process writes its field only while it has something to report. Times are unix seconds.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

TROUBLES_KEY = "penstock:document-troubles"
SEEN_WITHIN_S = 15.0
"""A process that has not written for so long is gone, and waits for nothing."""
WAITS_LULL_S = 400.0
"""Without a refusal for so long nothing waits any more: a batch is tried again every 300 s, and at
first more often, so that less silence will do."""
REFUSED_FOR_S = 600.0
"""How long documents that were refused are reported."""
MOST_COLLECTIONS = 20
"""In the report of one process: those of late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """Batches of one collection that MongoDB does not store for now."""

    since: float
    last: float
    words: str
    """Why, of the last; without values of documents."""
    batch: str
    """The task of the last."""
    lasting: bool = False
    """Whether MongoDB stores others of that collection: their success says nothing of these."""

    @property
    def over_at(self) -> float:
        """When nothing waits any more, unless it is refused again before."""
        return self.last + min(WAITS_LULL_S, 30 + 2 * (self.last - self.since))


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Documents of one collection that were given up."""

    since: float
    last: float
    documents: int
    reason: str
    """Of one of them, without its values."""
    batch: str
    """The task whose result has it."""


@dataclass(slots=True)
class Troubles:
    """What one process reports; each dictionary is by collection."""

    seen: float = 0.0
    waits: dict[str, Waits] = field(default_factory=dict)
    refused: dict[str, Refused] = field(default_factory=dict)
    stored: dict[str, float] = field(default_factory=dict)
    """When it last stored a batch for which this or another process may still wait."""

    def encode(self) -> str:
        """Return the value of the hash."""
        return json.dumps(asdict(self), separators=(",", ":"))


def decode_troubles(values: Iterable[bytes | str]) -> list[Troubles]:
    """Read the values of the hash; what is none is left out."""
    found = []
    for value in values:
        try:
            one: Any = json.loads(value)
            found.append(
                Troubles(
                    seen=float(one["seen"]),
                    waits={name: Waits(**found) for name, found in _items(one, "waits")},
                    refused={name: Refused(**found) for name, found in _items(one, "refused")},
                    stored={name: float(at) for name, at in _items(one, "stored")},
                )
            )
        except (KeyError, TypeError, ValueError):
            continue
    return found


def _items(one: Mapping[str, Any], name: str) -> Iterable[tuple[str, Any]]:
    found: dict[str, Any] = one[name]
    return found.items()
