"""What one request spends of its key's `rate`: a task 1, a batch 1, a read 1, a refused line 1.

The middleware spends 1 before the handler runs, which pays for the first piece; a handler that
does more charges the rest here, and one that reads a stream pauses while its key is in debt.
"""

from dataclasses import dataclass
from typing import Final

from aiohttp import web

from gateway.access.auth import Caller
from gateway.access.limits import Limits
from gateway.decoding.steps import Pause


class Work:
    """One request's pieces of work.

    Args:
        limits: Of all keys.
        caller: Whose key pays.
    """

    __slots__ = ("_caller", "_limits", "_prepaid")

    def __init__(self, limits: Limits, caller: Caller) -> None:
        self._limits = limits
        self._caller = caller
        self._prepaid = 1

    def charge(self, pieces: int) -> None:
        """Charge pieces of work that were done or refused, into debt if need be.

        Args:
            pieces: Tasks, batches, reads or refused lines; 0 costs nothing.
        """
        paid = min(pieces, self._prepaid)
        if paid:
            self._prepaid -= paid
            pieces -= paid
        if pieces > 0:
            self._limits.charge(self._caller, pieces)

    async def pause(self) -> None:
        """Wait while the key is in debt: for streams, between two pieces of their body."""
        if not self._prepaid:
            await self._limits.pause(self._caller)


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast one request may go: long work is cut in slices, and waits between two of them."""

    work: Work
    """Pays for the pieces of each slice."""
    turn: Pause
    """Leaves the loop to others when it is their turn; raises ConnectionResetError when the client
    has left."""
    slowed: bool
    """A stream: waits while its key is in debt. Anything else goes into debt at once."""

    async def begin(self) -> None:
        """Wait before a slice while the key is in debt, if that slows the request down."""
        if self.slowed:
            await self.work.pause()


class _FreeWork(Work):
    """Of a caller without a rate."""

    def __init__(self) -> None:
        """Need nothing."""

    def charge(self, pieces: int) -> None:
        """Cost nothing."""

    async def pause(self) -> None:
        """Never wait."""


FREE: Final[Work] = _FreeWork()
"""The work of every request whose caller has no rate."""
_WORK = web.RequestKey("work", Work)


async def admit(request: web.Request, limits: Limits, caller: Caller) -> None:
    """Let a request of a key begin, and pay for its first piece of work.

    Raises:
        Problem: `rate-limited` (queued: no).
    """
    await limits.admit(caller)
    request[_WORK] = Work(limits, caller)


def work_of(request: web.Request) -> Work:
    """Return the work of a request that was admitted; free where its caller has no rate."""
    found: Work = request.get(_WORK, FREE)
    return found
