"""Whether the gateway is shutting down."""

from dataclasses import dataclass


@dataclass(slots=True)
class Drain:
    """What /readyz reports from SIGTERM on, `DRAIN_NOTICE_S` before new work is refused.

    Requests that were accepted before go on and may still publish.
    """

    announced: bool = False
    """Not ready any more: everything is still served, and connections close behind an answer, so
    that clients and balancers come by another gateway."""
    started: bool = False
    """New work is refused."""
