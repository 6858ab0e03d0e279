"""What takes requests in: their bodies within bounds, in turns, until the gateway drains."""

from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from gateway.config import GatewayConfig
from gateway.http.body import Bodies
from gateway.http.drain import Drain
from gateway.http.turns import Turns
from gateway.sharing.held_bytes import HeldBytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """How requests come in."""

    bodies: Bodies
    held: HeldBytes
    """Bounds what requests hold in memory."""
    turns: Turns
    """Shares the event loop among the requests that compute."""
    drain: Drain
    """Whether the gateway shuts down."""

    @classmethod
    def make(cls, config: GatewayConfig, welcome: Callable[[web.Request], bool]) -> "Intake":
        """Make it.

        Args:
            config: Bounds.
            welcome: Whether the key of a request is still there, with the rights that it had.
        """
        held, turns = HeldBytes(config.max_body_bytes_held), Turns()
        bodies = Bodies(config.body_timeout_s, held, turns, welcome)
        return cls(bodies=bodies, held=held, turns=turns, drain=Drain())
