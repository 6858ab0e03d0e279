"""Many messages of one request, whose confirms are waited for together.

A single message has `CONFIRM_TIMEOUT_S`. Thousands that are written at once wait for each other:
on a slow disk the last of them would be given up while RabbitMQ confirms one after the other. So
the wait for a message of a burst ends

    when none of the burst has been confirmed for that long, or
    when one is confirmed that was written that much later: its own queue does not answer.

Behind a wait that ended so, nothing more of the burst is written for as long, unless a confirm
comes: it would only wait again, and more of its ends would be unknown.
"""

from dataclasses import dataclass


@dataclass(slots=True)
class Burst:
    """How the messages of one request do; times are monotonic seconds."""

    heard_at: float = 0.0
    """When RabbitMQ answered for one of them last."""
    reached: float = 0.0
    """When the latest of those was written."""
    gave_up_at: float = float("-inf")
    """When the wait for one of them ended in vain."""

    def heard(self, now: float, written_at: float) -> None:
        """Note the answer for a message."""
        self.heard_at = now
        self.reached = max(self.reached, written_at)

    def waits(self, written_at: float, now: float, timeout_s: float) -> bool:
        """Return whether to wait on for a message that was written longer ago than the timeout."""
        return self.heard_at > now - timeout_s and self.reached <= written_at + timeout_s

    def stalled(self, now: float, timeout_s: float) -> bool:
        """Return whether nothing more of it is to be written now."""
        return self.heard_at < self.gave_up_at and now - self.gave_up_at < timeout_s
