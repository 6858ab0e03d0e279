"""Each key's budget of work, shared by all gateways through Redis.

A token bucket per key lives in Redis; a token is one piece of work. A gateway leases tokens from it
in chunks, ahead of need, and spends them without a round trip; only the first request after a
pause, and one that finds the chunk spent, wait for a lease. While Redis is away each gateway keeps
the rate by itself.

    admitted ──► one token is spent ──► charged for what it holds beyond one piece ──► debt
       ▲                                                                                │
       └────── a whole token is there again: burst and rate first pay the debt ◄────────┘

A debt is paid into the shared bucket at the next lease, so that it holds for all gateways.

    hash penstock:rate:<key name>   tokens (negative: a debt), at (Redis' microseconds)
"""

import asyncio
import logging
import math
import time
from dataclasses import dataclass, field

from gateway.access.auth import Caller
from gateway.errors import Problem
from gateway.redis.client import RedisClient
from gateway.redis.faults import RedisAwayError
from penstock.wire.keys import RATE_PREFIX

log = logging.getLogger(__name__)

LEASE_S = 0.1
"""How much of the rate one lease holds: at 1,000 pieces a second ten leases a second."""
KEPT_S = 2.0
"""How long leased tokens may lie unspent; a gateway without requests must not hoard them."""
LEASE_TIMEOUT_S = 0.5
"""Longest wait for Redis; a submit must be answered in 6 s in all."""
ASK_AGAIN_S = 1.0
"""After a failure the rate is kept locally for so long."""


@dataclass(slots=True)
class _Budget:
    """What this gateway has leased of one key's budget."""

    tokens: float = 0.0
    """Below zero: spent without being leased, to be paid with the next lease."""
    leased_at: float = 0.0
    """Monotonic seconds."""
    empty_until: float = 0.0
    """When the shared bucket has a token again, monotonic seconds."""
    waiting: int = 0
    """Requests that wait for the lease under way."""
    lease: "asyncio.Task[None] | None" = None
    own_tokens: float | None = field(default=None)
    """The bucket kept here while Redis is away."""
    own_at: float = 0.0


class Limits:
    """Admits work within the rates of the keys.

    Args:
        client: Redis; None: this gateway is alone.
    """

    def __init__(self, client: RedisClient | None) -> None:
        self._script = (
            None if client is None else client.within(LEASE_TIMEOUT_S).script("rate_lease")
        )
        self._budgets: dict[str, _Budget] = {}
        self._ask_again_at = 0.0
        self._redis_answers = True

    async def admit(self, caller: Caller) -> None:
        """Spend one token of the caller's budget.

        Args:
            caller: Whose key has a `rate`; others are not limited.

        Raises:
            Problem: `rate-limited` (queued: no), with the time after which a token is there.
        """
        if caller.rate is None:
            return
        budget = self._budget(caller)
        if budget.tokens < 1:
            await self._wait(caller, budget)
        self._spend(caller, budget, 1)

    def charge(self, caller: Caller, pieces: int) -> None:
        """Spend tokens for work that is done, into debt if need be.

        Args:
            caller: Whose key has a `rate`; others are not limited.
            pieces: Tokens.
        """
        if caller.rate is not None and pieces > 0:
            self._spend(caller, self._budget(caller), pieces)

    async def pause(self, caller: Caller) -> None:
        """Wait until the caller's budget has a token, which is not spent: slow a stream down."""
        if caller.rate is None:
            return
        while True:
            budget = self._budget(caller)
            if budget.tokens >= 1:
                return
            try:
                await self._wait(caller, budget)
            except Problem:
                await asyncio.sleep(max(0.0, budget.empty_until - time.monotonic()))

    def _budget(self, caller: Caller) -> _Budget:
        budget = self._budgets.get(caller.name)
        if budget is None:
            budget = self._budgets[caller.name] = _Budget()
        if budget.tokens > 0 and time.monotonic() - budget.leased_at > KEPT_S:
            budget.tokens = 0
        return budget

    def _spend(self, caller: Caller, budget: _Budget, pieces: int) -> None:
        budget.tokens -= pieces
        chunk = _chunk(caller)
        if budget.tokens < 0 or (
            chunk > 1 and budget.tokens < chunk / 2 and time.monotonic() > budget.empty_until
        ):
            self._start_lease(caller, budget)

    async def _wait(self, caller: Caller, budget: _Budget) -> None:
        """Until there is a token; others that wait may be faster."""
        while budget.tokens < 1:
            wait_s = budget.empty_until - time.monotonic()
            # With something still to be paid, when there is a token again is not known yet.
            if wait_s > 0 and budget.tokens >= 0:
                raise Problem(
                    "rate-limited",
                    f"the key {caller.name!r} may do {caller.rate:g} pieces of work each second",
                    queued="no",
                    retry_after_s=math.ceil(wait_s),
                )
            budget.waiting += 1
            try:
                await asyncio.shield(self._start_lease(caller, budget))
            finally:
                budget.waiting -= 1

    def _start_lease(self, caller: Caller, budget: _Budget) -> "asyncio.Task[None]":
        if budget.lease is None:
            budget.lease = asyncio.create_task(
                self._lease(caller, budget), name=f"lease-{caller.name}"
            )
        return budget.lease

    async def _lease(self, caller: Caller, budget: _Budget) -> None:
        """Move tokens from the shared bucket to here, and pay what was spent without."""
        rate, burst = caller.rate or 1.0, caller.burst or 1.0
        owed = max(0.0, -budget.tokens)
        want = max(1, _chunk(caller) + budget.waiting) if budget.waiting or not owed else 0
        try:
            granted, wait_us = await self._ask(caller.name, rate, burst, want, owed)
            budget.own_tokens = None
            self._redis_answers = True
        except RedisAwayError as error:
            if time.monotonic() >= self._ask_again_at:  # it was asked
                self._ask_again_at = time.monotonic() + ASK_AGAIN_S
                if self._redis_answers:
                    log.warning("rates-kept-locally", extra={"reason": error.reason})
                self._redis_answers = False
            granted, wait_us = _own(budget, rate, burst, want, owed)
        finally:
            budget.lease = None
        now = time.monotonic()
        budget.tokens += granted + owed
        budget.leased_at = now
        budget.empty_until = now + wait_us / 1e6 if granted < max(want, 1) else 0.0
        if budget.tokens < 0:  # spent meanwhile: it must be paid even if no request follows
            self._start_lease(caller, budget)

    async def _ask(
        self, name: str, rate: float, burst: float, want: int, owed: float
    ) -> tuple[int, int]:
        if self._script is None or time.monotonic() < self._ask_again_at:
            raise RedisAwayError("not asked")
        granted, wait_us = await self._script(
            keys=[RATE_PREFIX + name], args=[repr(rate), repr(burst), want, repr(owed)]
        )
        return int(granted), int(wait_us)


def _chunk(caller: Caller) -> int:
    """Tokens of one lease beyond those that are waited for; none at low rates."""
    return int(min((caller.rate or 0) * LEASE_S, (caller.burst or 0) / 4))


def _own(budget: _Budget, rate: float, burst: float, want: int, owed: float) -> tuple[int, int]:
    """A lease from the bucket kept here; as the script does it."""
    now = time.monotonic()
    before = budget.own_tokens if budget.own_tokens is not None else burst
    since_s = now - budget.own_at if budget.own_tokens is not None else 0.0
    tokens = min(burst, before + since_s * rate) - owed
    granted = max(0, min(want, math.floor(tokens)))
    budget.own_tokens = tokens - granted
    budget.own_at = now
    return granted, math.ceil(max(0.0, 1 - budget.own_tokens) / rate * 1e6)
