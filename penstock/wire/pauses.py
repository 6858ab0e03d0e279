"""Paused queues in Redis: gateways write them, workers and the start script read them."""

import json
from dataclasses import asdict, dataclass

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
