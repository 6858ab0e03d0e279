"""Which receivers of callbacks may be called now: one that hangs holds up its own callbacks only.

    receiver                                        calls at once to it     to all of its kind
    quick: answers within a second                          32                     40
    slow, or never called                                    8                     16
    silent: its last call had no answer                      2                      8

What all of a kind may have is shared as tenants share (`gateway/sharing/shares.py`). A call that
finds no place waits for one where that is a matter of moments. Else its event goes back to the
broker, for so long that the events of one receiver come again one by one, at a pace that the
receiver can follow: the longer its backlog, the longer the delay.
"""

import asyncio
import contextlib
import logging
import math
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final

from yarl import URL

from gateway.endings.callback_post import CallbackFailedError
from gateway.sharing.shares import Shares

log = logging.getLogger(__name__)

QUICK_S: Final = 1.0
"""A receiver that takes longer on average, or has answered nothing for so long, is slow."""
LONGEST_PUT_OFF_S: Final = 3600
WAIT_S: Final = 0.5
"""Longest wait for a place: it holds up what stands behind in the queue."""
_PACE: Final = 10.0
"""Events that come again in a second, where it is not known how many can be delivered."""
_GUESS_S: Final = 0.1
"""What a call of an unknown receiver takes."""
_SMOOTHING: Final = 8
_REMEMBERED: Final = 1024
"""Receivers without a call, the latest ones."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """How many calls may be under way at once."""

    name: str
    of_one: int
    of_all: int


_QUICK: Final = _Kind("quick", 32, 40)
_SLOW: Final = _Kind("slow", 8, 16)
_SILENT: Final = _Kind("silent", 2, 8)
_KINDS: Final = (_QUICK, _SLOW, _SILENT)


class _Returns:
    """When events that were put off come again: one after the other."""

    __slots__ = ("last_at",)

    def __init__(self) -> None:
        self.last_at = 0.0

    def next_s(self, now: float, pace: float) -> int:
        """Return after how many whole seconds the next one comes.

        Args:
            now: Monotonic seconds.
            pace: Events in a second.
        """
        after = max(self.last_at, now) + 1 / pace
        self.last_at = min(after, now + LONGEST_PUT_OFF_S)
        return math.ceil(self.last_at - now)


class ReceiverBusyError(Exception):
    """The receiver must not be called now.

    Args:
        delay_s: When to try again; whole seconds.
        silent: Whether its last call had no answer.
    """

    def __init__(self, delay_s: int, *, silent: bool) -> None:
        super().__init__(f"no place for {delay_s} s")
        self.delay_s = delay_s
        self.silent = silent


class _Receiver:
    """What is known of one."""

    __slots__ = ("answered", "heard_at", "name", "returns", "took_s", "under_way", "waiting")

    def __init__(self, name: str) -> None:
        self.name = name
        self.answered: bool | None = None
        """Whether its last call had an answer; None: it was never called."""
        self.took_s = _GUESS_S
        """What a call takes that is answered, on average."""
        self.under_way = 0
        self.heard_at = 0.0
        """When it last answered, or was called after a pause."""
        self.returns = _Returns()
        """Of events that were put off because it has enough calls."""
        self.waiting: deque[asyncio.Future[None]] = deque()

    def hopeful(self, now: float) -> bool:
        """Whether an answer is a matter of moments, for all that is known."""
        stalled = self.under_way > 0 and now - self.heard_at > QUICK_S
        return self.answered is not False and self.took_s <= QUICK_S and not stalled

    def kind(self, now: float) -> _Kind:
        if self.answered is False:
            return _SILENT
        return _QUICK if self.answered and self.hopeful(now) else _SLOW

    def free_s(self, now: float) -> float:
        """When one more call will probably find a place, seconds from now."""
        if not self.under_way or not self.hopeful(now):
            return math.inf
        return (len(self.waiting) + 1) * self.took_s / self.kind(now).of_one

    def pace(self, now: float, at_once: int) -> float:
        """How many events a second are delivered by so many calls at once."""
        return max(_PACE, at_once / self.took_s) if self.hopeful(now) else _PACE


class Receivers:
    """Gives places to calls.

    Args:
        now: Monotonic seconds.
        wait_s: Longest wait for a place.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic, wait_s: float = WAIT_S) -> None:
        self._now = now
        self._wait_s = wait_s
        self._known: OrderedDict[str, _Receiver] = OrderedDict()
        self._shares = {kind: Shares() for kind in _KINDS}
        self._returns = {kind: _Returns() for kind in _KINDS}
        """Of events that were put off because all of the kind together have enough calls."""

    def __repr__(self) -> str:
        """Count calls by the kind of their receivers."""
        calls = (f"{kind.name} {shares!r}" for kind, shares in self._shares.items())
        return f"<Receivers {len(self._known)}: {', '.join(calls)}>"

    def __len__(self) -> int:
        """Return how many are remembered."""
        return len(self._known)

    @contextlib.asynccontextmanager
    async def calling(self, url: str) -> AsyncIterator[None]:
        """Hold a place for the call that the body makes; learn from how it ends.

        Args:
            url: What is called.

        Raises:
            ReceiverBusyError: There is no place now.
        """
        receiver = self._find(receiver_of(url))
        kind = await self._place(receiver)
        began_at = self._now()
        answered: bool | None = None
        try:
            yield
            answered = True
        except CallbackFailedError as failed:
            answered = None if failed.final else failed.answered
            raise
        finally:
            self._shares[kind].give_back(receiver.name, 0)
            receiver.under_way -= 1
            if answered is not None:
                self._learn(receiver, self._now() - began_at, answered=answered)
            for _ in range(receiver.kind(self._now()).of_one - receiver.under_way):
                if receiver.waiting:
                    receiver.waiting.popleft().set_result(None)

    async def _place(self, receiver: _Receiver) -> _Kind:
        """Take a place, and return of which kind; wait for it where that is short.

        Raises:
            ReceiverBusyError: There is none.
        """
        until = self._now() + self._wait_s
        while (kind := self._take(receiver)) is None:
            now = self._now()
            free = receiver.free_s(now) <= until - now and await _woken(receiver, until - now)
            if not free:
                delay_s = self._put_off_s(receiver, self._now())
                raise ReceiverBusyError(delay_s, silent=receiver.answered is False)
        return kind

    def _take(self, receiver: _Receiver) -> _Kind | None:
        now = self._now()
        kind = receiver.kind(now)
        shares = self._shares[kind]
        if receiver.under_way >= kind.of_one or not shares.admit(receiver.name, 0, kind.of_all, 0):
            return None
        shares.take(receiver.name, 0)
        if not receiver.under_way:
            receiver.heard_at = now
        receiver.under_way += 1
        return kind

    def _put_off_s(self, receiver: _Receiver, now: float) -> int:
        """Whole seconds until an event that finds no place is to come again."""
        kind = receiver.kind(now)
        if receiver.under_way >= kind.of_one:
            return receiver.returns.next_s(now, receiver.pace(now, kind.of_one))
        return self._returns[kind].next_s(now, receiver.pace(now, kind.of_all))

    def _learn(self, receiver: _Receiver, took_s: float, *, answered: bool) -> None:
        now = self._now()
        was_quick, was_silent = receiver.kind(now) is _QUICK, receiver.answered is False
        receiver.answered = answered
        if not answered:
            if not was_silent:
                log.warning("callback-receiver-silent", extra={"receiver": receiver.name})
            return
        if was_silent:
            log.info("callback-receiver-answers", extra={"receiver": receiver.name})
        receiver.heard_at = now
        receiver.took_s += (took_s - receiver.took_s) / _SMOOTHING
        if receiver.kind(now) is _QUICK and not was_quick:
            receiver.returns = _Returns()  # what comes now need not wait behind its backlog

    def _find(self, name: str) -> _Receiver:
        receiver = self._known.get(name)
        if receiver is None:
            receiver = self._known[name] = _Receiver(name)
            self._forget()
        self._known.move_to_end(name)
        return receiver

    def _forget(self) -> None:
        """Forget the one that was called longest ago, unless it has a call under way."""
        if len(self._known) > _REMEMBERED:
            for one in self._known.values():
                if not one.under_way and not one.waiting:
                    del self._known[one.name]
                    return


def receiver_of(url: str) -> str:
    """Return who is called: scheme, host and port; empty where it is no URL."""
    try:
        return str(URL(url).origin())
    except ValueError:
        return ""


async def _woken(receiver: _Receiver, timeout_s: float) -> bool:
    """Wait until a call of the receiver has ended; return whether one has in time."""
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    receiver.waiting.append(ended)
    try:
        await asyncio.wait((ended,), timeout=timeout_s)
    finally:
        if not ended.done():
            receiver.waiting.remove(ended)
    return ended.done()
