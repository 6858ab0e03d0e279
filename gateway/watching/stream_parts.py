"""What streams allow, and what they work with."""

from dataclasses import dataclass

from gateway.access.limits import Limits
from gateway.http.turns import Turns
from gateway.sharing.held_bytes import HeldBytes
from gateway.watching.stream_counts import StreamCounts
from gateway.watching.watch import Watch


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLimits:
    """What streams allow."""

    ids: int = 10_000
    """Tasks watched by one socket."""
    backlog_bytes: int = 1024 * 1024
    """What a client may have left unread before it counts as a slow consumer."""
    ping_after_s: float = 20.0
    """A socket that was silent for this long is pinged."""
    dead_after_s: float = 45.0
    """A socket that was silent for this long is cut."""
    close_timeout_s: float = 10.0
    """How long the closing handshake may take."""
    comment_every_s: float = 15.0
    """Seconds between two comments on a silent event stream."""


@dataclass(slots=True, kw_only=True)
class StreamParts:
    """What every stream of a process works with."""

    limits: StreamLimits
    counts: StreamCounts
    watch: Watch
    rates: Limits
    """Of the keys: a message that is refused is a piece of work."""
    held: HeldBytes
    turns: Turns
