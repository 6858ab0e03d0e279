"""The confirm window: which messages are in flight on a channel, and how each one ends.

               ┌── ack ───────────────► confirmed
in flight ─────┼── return, then ack ──► unroutable          queued: no
               ├── nack ──────────────► refused             no (one queue), unknown (several)
               ├── channel lost ──────► unconfirmed         unknown
               └── deadline passed ───► unconfirmed         unknown (a later confirm is ignored)

Of many messages of one request the deadline is that of their burst: see there.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from gateway.errors import Problem
from gateway.rabbitmq.burst import Burst
from gateway.sharing.shares import Shares


@dataclass(slots=True)
class InFlight:
    """One message between its write and its end."""

    future: asyncio.Future[None]
    """Resolves when confirmed, else raises the problem."""
    task_id: str
    message_id: str
    size: int
    """Octets written."""
    written_at: float
    """Monotonic seconds."""
    queue_count: int | None
    """How many queues match; None: that is not known."""
    tenant: str = ""
    """Whose it is; empty for the gateway's own."""
    burst: Burst | None = None
    """What it is one of many of; None: it is alone."""
    returned: str | None = None
    """Why RabbitMQ returned it, once it did."""


class ConfirmWindow:
    """Messages in flight on one channel, by delivery tag. Every operation is O(1) per message.

    Tags are consecutive, so `multiple` pops from the lowest one upwards.

    Args:
        observe: Called with each end: (`confirmed`, `returned`, `refused`, `lost` or `timeout`,
            seconds since the write).
    """

    def __init__(self, observe: Callable[[str, float], None]) -> None:
        self._observe = observe
        self._inflight: dict[int, InFlight] = {}
        self._lowest = 1
        self._next = 1
        self._swept = 1
        self._late: list[int] = []
        """Tags of what is swept, and is waited for as long as its burst goes on."""
        self._heard_at = 0.0
        self._overdue_since = 0.0
        self._silent_from = 0.0
        self.size = 0
        """Octets in flight."""
        self.shares = Shares()
        """How they and the messages are spread over the tenants."""

    def __len__(self) -> int:
        return len(self._inflight)

    def futures(self) -> "list[asyncio.Future[None]]":
        """Return everything that is still waited for."""
        return [message.future for message in self._inflight.values()]

    @property
    def silent(self) -> bool:
        """Whether no confirm at all has come since a message whose time is over was written."""
        return self._overdue_since > self._heard_at

    def silent_since(self, now: float) -> float:
        """Return for how many seconds nothing has been confirmed of what is overdue; 0: none is.

        Args:
            now: Monotonic seconds.
        """
        return now - self._silent_from if self.silent else 0.0

    def add(self, message: InFlight) -> None:
        """Take the next delivery tag for a message about to be written."""
        self._inflight[self._next] = message
        self._next += 1
        self.size += message.size
        self.shares.take(message.tenant, message.size)

    def confirm(self, delivery_tag: int, *, multiple: bool, ack: bool) -> None:
        """Take a Basic.Ack or Basic.Nack for a tag, or for it and all lower ones."""
        now = self._heard_at = time.monotonic()
        if not multiple:
            message = self._inflight.pop(delivery_tag, None)
            if message is not None:
                self._end(message, now, ack=ack)
            return
        # Tag 0 with `multiple` means all outstanding: AMQP 0-9-1, Basic.Ack.
        last = delivery_tag or self._next - 1
        inflight = self._inflight
        for tag in range(self._lowest, last + 1):
            message = inflight.pop(tag, None)
            if message is not None:
                self._end(message, now, ack=ack)
        self._lowest = max(self._lowest, last + 1)

    def mark_returned(self, message_id: str, reason: str) -> None:
        """Take a Basic.Return for a message whose Basic.Ack is still to come."""
        # Returns come in publish order, so the first match stands near the front.
        for message in self._inflight.values():
            if message.message_id == message_id and message.returned is None:
                message.returned = reason
                return

    def lose(self) -> None:
        """End every message in flight: the channel is gone, and each may or may not be queued."""
        now = time.monotonic()
        messages = list(self._inflight.values())
        self._inflight.clear()
        self.size = 0
        self.shares = Shares()
        for message in messages:
            self._observe("lost", now - message.written_at)
            _fail(message, unconfirmed(message.task_id, "the connection to RabbitMQ was lost"))

    def sweep(self, now: float, timeout_s: float) -> None:
        """End the wait for confirms of messages that were written too long ago.

        The messages stay in the window: RabbitMQ still holds them.

        Args:
            now: Monotonic seconds.
            timeout_s: How long is waited for one.
        """
        late, self._late = self._late, []
        for tag in late:
            self._look_at(tag, now, timeout_s)
        while self._swept < self._next:
            message = self._inflight.get(self._swept)
            if message is not None and message.written_at > now - timeout_s:
                return
            self._look_at(self._swept, now, timeout_s)
            self._swept += 1

    def _look_at(self, tag: int, now: float, timeout_s: float) -> None:
        """End the wait for a message whose time is over, unless its burst goes on."""
        message = self._inflight.get(tag)
        if message is None:
            return
        burst = message.burst
        if burst is not None:
            if burst.waits(message.written_at, now, timeout_s):
                self._late.append(tag)
                return
            burst.gave_up_at = now
        if not self.silent:
            self._silent_from = message.written_at
        self._overdue_since = max(self._overdue_since, message.written_at)
        self._observe("timeout", now - message.written_at)
        _fail(message, unconfirmed(message.task_id, "RabbitMQ did not confirm in time"))

    def _end(self, message: InFlight, now: float, *, ack: bool) -> None:
        self.size -= message.size
        self.shares.give_back(message.tenant, message.size)
        outcome = "returned" if message.returned is not None else "confirmed" if ack else "refused"
        self._observe(outcome, now - message.written_at)
        if message.burst is not None:
            message.burst.heard(now, message.written_at)
        future = message.future
        if future.done():
            return
        if outcome == "confirmed":
            future.set_result(None)
        elif outcome == "returned":
            future.set_exception(_returned(message))
        elif message.queue_count in {1, None}:
            future.set_exception(Problem("queue-full", "the queue refused it", queued="no"))
        else:
            future.set_exception(
                unconfirmed(message.task_id, "one of several queues refused it, others may hold it")
            )


def _returned(message: InFlight) -> Problem:
    """Return why no queue took a message that was returned."""
    if message.queue_count:  # RabbitMQ leaves out queues whose node is down
        detail = (
            "RabbitMQ returned it: its queue is not there (no worker has made it yet, or it was "
            "deleted), or the node of the queue is down"
        )
        return Problem("broker-unavailable", detail, queued="no")
    return Problem("unroutable", f"RabbitMQ returned it: {message.returned}", queued="no")


def _fail(message: InFlight, problem: Problem) -> None:
    if not message.future.done():
        message.future.set_exception(problem)


def unconfirmed(task_id: str, why: str) -> Problem:
    """Return a 504: written, and its end is not known."""
    return Problem("unconfirmed", why, queued="unknown", task_id=task_id)
