"""Which receivers of callbacks may be called now: one that hangs holds up its own callbacks only.

    receiver                                        calls at once to it     beyond the first, to all
    quick: answers within a second                          32                     40
    slow, or never called                                    8                     16
    silent: its last call had no answer                      1, at intervals

The first call to a receiver that answers is always made. Of those that are silent or were never
called, `_STRANGERS` may be called at once: half of the events in hand. The intervals of silent ones
grow with their number and with what their calls take, so that those never called find most of it.
Further calls share as tenants share (`gateway/sharing/shares.py`).

A call that finds no place waits for one where that is a matter of moments. Else its event goes back
to the broker, for so long that the events of one receiver come again one by one, at a pace that
the receiver can follow: the longer its backlog, the longer the delay. It never waits behind the
backlog of another.
"""

import asyncio
import contextlib
import logging
import math
import random
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
"""Receivers without a call, the latest ones: so many that answer, and so many silent ones."""
_STRANGERS: Final = 64
"""Receivers with a call that are silent or were never called."""
_STRANGER_S: Final = 10
"""Longest delay of an event that finds as many; longer where more than this come in a second:"""
_STRANGERS_PACE: Final = 200.0
_PROBE_S: Final = 5.0
"""Between two calls of a silent receiver; twice as long after each, up to:"""
_LONGEST_OWN_PROBE_S: Final = 60.0
_SILENT_PLACES: Final = 8
"""What silent receivers take of `_STRANGERS` on average, as long as intervals can grow to:"""
_LONGEST_PROBE_S: Final = 600.0
"""With 1,024 that hang for 15 s: 26 of 64; and 34 threads that look up names for 20 s."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """How many calls may be under way at once.

    Args:
        of_one: To one receiver.
        of_all: To all receivers of the kind, the first one to each not counted.
    """

    name: str
    of_one: int
    of_all: int


_QUICK: Final = _Kind("quick", 32, 40)
_SLOW: Final = _Kind("slow", 8, 16)
_SILENT: Final = _Kind("silent", 1, 0)


class _Returns:
    """When events that were put off come again: one after the other."""

    __slots__ = ("last_at",)

    def __init__(self) -> None:
        self.last_at = 0.0

    def next_s(self, now: float, pace: float, earliest: float = 0.0) -> int:
        """Return after how many whole seconds the next one comes.

        Args:
            now: Monotonic seconds.
            pace: Events in a second.
            earliest: None comes before; monotonic seconds.
        """
        after = max(self.last_at, now, earliest) + 1 / pace
        self.last_at = min(after, now + LONGEST_PUT_OFF_S)
        return math.ceil(self.last_at - now)


class ReceiverBusyError(Exception):
    """The receiver must not be called now.

    Args:
        delay_s: When to try again; whole seconds.
        silent: Whether calls had no answer, two at least, and none after them had one.
    """

    def __init__(self, delay_s: int, *, silent: bool) -> None:
        super().__init__(f"no place for {delay_s} s")
        self.delay_s = delay_s
        self.silent = silent


class _Receiver:
    """What is known of one."""

    __slots__ = (
        "answered",
        "failed_at",
        "failures",
        "heard_at",
        "name",
        "probe_at",
        "returns",
        "took_s",
        "under_way",
        "waiting",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.answered: bool | None = None
        """Whether its last call had an answer; None: it was never called."""
        self.took_s = _GUESS_S
        """What a call takes that is answered, on average."""
        self.under_way = 0
        self.heard_at = 0.0
        """When it last answered, or was called after a pause."""
        self.failures = 0
        """Calls without an answer, one after the other, since it last answered."""
        self.failed_at = -math.inf
        """When the last of these ended."""
        self.probe_at = 0.0
        """When it may be called while it is silent."""
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
        self._called: dict[str, _Receiver] = {}
        """Those with a call under way."""
        self._answering: OrderedDict[str, _Receiver] = OrderedDict()
        self._silent: OrderedDict[str, _Receiver] = OrderedDict()
        self._further = {_QUICK: Shares(), _SLOW: Shares()}
        """Calls beyond the first to a receiver."""
        self._strangers = _Returns()

    def __repr__(self) -> str:
        """Count receivers, and calls by the kind of their receivers."""
        further = (f"{kind.name} {shares!r}" for kind, shares in self._further.items())
        return f"<Receivers {len(self)}, {len(self._called)} called, further {', '.join(further)}>"

    def __len__(self) -> int:
        """Return how many are remembered."""
        return len(self._called) + len(self._answering) + len(self._silent)

    @contextlib.asynccontextmanager
    async def calling(self, url: str) -> AsyncIterator[None]:
        """Hold a place for the call that the body makes; learn from how it ends.

        Args:
            url: What is called.

        Raises:
            ReceiverBusyError: There is no place now.
        """
        receiver, shares = await self._place(receiver_of(url))
        began_at = self._now()
        answered: bool | None = None
        try:
            yield
            answered = True
        except CallbackFailedError as failed:
            answered = None if failed.final else failed.answered
            raise
        finally:
            if shares is not None:
                shares.give_back(receiver.name, 0)
            receiver.under_way -= 1
            if answered is not None:
                self._learn(receiver, began_at, answered=answered)
            for _ in range(receiver.kind(self._now()).of_one - receiver.under_way):
                if receiver.waiting:
                    receiver.waiting.popleft().set_result(None)
            if not receiver.under_way:
                self._remember(receiver)

    async def _place(self, name: str) -> tuple[_Receiver, Shares | None]:
        """Take a place, and return of whom and where it counts; wait for it where that is short.

        Raises:
            ReceiverBusyError: There is none.
        """
        until = self._now() + self._wait_s
        while True:
            receiver = self._find(name)
            now = self._now()
            if not receiver.under_way:
                if self._may_begin(receiver, now):
                    return self._begin(receiver, now), None
            elif (shares := self._take_further(receiver, now)) is not None:
                return receiver, shares
            free = receiver.free_s(now) <= until - now and await _woken(receiver, until - now)
            if not free:
                delay_s = self._put_off_s(receiver, self._now())
                raise ReceiverBusyError(delay_s, silent=receiver.failures > 1)

    def _may_begin(self, receiver: _Receiver, now: float) -> bool:
        """Whether a receiver may be called that has no call under way."""
        if receiver.answered:
            return True
        strangers = sum(not one.answered for one in self._called.values())
        return now >= receiver.probe_at and strangers < _STRANGERS

    def _begin(self, receiver: _Receiver, now: float) -> _Receiver:
        self._answering.pop(receiver.name, None)
        self._silent.pop(receiver.name, None)
        self._called[receiver.name] = receiver
        receiver.heard_at = now
        receiver.probe_at = now + _PROBE_S  # of interest while it is silent
        receiver.under_way = 1
        return receiver

    def _take_further(self, receiver: _Receiver, now: float) -> Shares | None:
        kind = receiver.kind(now)
        shares = self._further.get(kind)
        if (
            shares is None
            or receiver.under_way >= kind.of_one
            or not shares.admit(receiver.name, 0, kind.of_all, 0)
        ):
            return None
        shares.take(receiver.name, 0)
        receiver.under_way += 1
        return shares

    def _put_off_s(self, receiver: _Receiver, now: float) -> int:
        """Whole seconds until an event that finds no place is to come again."""
        kind = receiver.kind(now)
        if not receiver.under_way and now >= receiver.probe_at:
            longest = max(_STRANGER_S, self._strangers.next_s(now, _STRANGERS_PACE))
            return random.randint(1, longest)  # noqa: S311  # jitter: all have the same chance
        if kind is _SILENT:
            return receiver.returns.next_s(now, _PACE, receiver.probe_at)
        if receiver.under_way >= kind.of_one:
            return receiver.returns.next_s(now, receiver.pace(now, kind.of_one))
        pace = receiver.pace(now, kind.of_all) / max(1, len(self._called))
        return receiver.returns.next_s(now, pace)

    def _learn(self, receiver: _Receiver, began_at: float, *, answered: bool) -> None:
        now = self._now()
        was_quick, was_silent = receiver.kind(now) is _QUICK, receiver.answered is False
        receiver.answered = answered
        if not answered:
            if began_at >= receiver.failed_at:  # not one of several that failed together
                receiver.failures += 1
            receiver.failed_at = now
            receiver.probe_at = now + self._probe_s(receiver, now - began_at)
            if not was_silent:
                log.warning("callback-receiver-silent", extra={"receiver": receiver.name})
            return
        if was_silent:
            log.info("callback-receiver-answers", extra={"receiver": receiver.name})
        receiver.failures = 0
        receiver.probe_at = 0.0
        receiver.heard_at = now
        receiver.took_s += (now - began_at - receiver.took_s) / _SMOOTHING
        if receiver.kind(now) is _QUICK and not was_quick:
            receiver.returns = _Returns()  # what comes now need not wait behind its backlog

    def _probe_s(self, receiver: _Receiver, took_s: float) -> float:
        """How long a silent receiver is not called.

        Args:
            receiver: Its failures are counted.
            took_s: The call that had no answer.
        """
        own = min(_LONGEST_OWN_PROBE_S, _PROBE_S * 2.0 ** min(receiver.failures - 1, 10))
        silent = len(self._silent) + sum(one.answered is False for one in self._called.values())
        return max(own, min(_LONGEST_PROBE_S, took_s * silent / _SILENT_PLACES))

    def _find(self, name: str) -> _Receiver:
        for some in (self._called, self._answering, self._silent):
            if name in some:
                return some[name]
        return _Receiver(name)

    def _remember(self, receiver: _Receiver) -> None:
        """Keep what is known of a receiver whose last call has ended."""
        del self._called[receiver.name]
        if receiver.answered is None:
            return
        known = self._answering if receiver.answered else self._silent
        known[receiver.name] = receiver
        if len(known) > _REMEMBERED:
            known.popitem(last=False)


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
