"""Whether the gateway is shutting down."""

from dataclasses import dataclass


@dataclass(slots=True)
class Drain:
    """Set once, on SIGTERM: /readyz reports it at once, and new work is refused.

    Requests that were accepted before go on and may still publish.
    """

    started: bool = False
