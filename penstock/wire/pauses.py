"""Paused queues in Redis: gateways write them, workers and the start script read them."""

import json
from dataclasses import asdict, dataclass

_NO_MORE_YEARS_S = 253_402_300_800
"""The year 10000."""
PAUSED_KEY = "penstock:paused"
"""Hash: queue → JSON of a `Pause`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Why no worker starts a task of a queue."""

    by: str
    """The name of the key that paused it."""
    at: float
    """Unix seconds."""

    def encode(self) -> str:
        """Return the value of the hash."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def decode(cls, value: bytes) -> "Pause | None":
        """Return what a value of the hash says; None: it was written by hand, and says nothing."""
        try:
            found = json.loads(value)
            pause = cls(by=str(found["by"]), at=float(found["at"]))
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            return None
        return pause if 0 <= pause.at < _NO_MORE_YEARS_S else None
