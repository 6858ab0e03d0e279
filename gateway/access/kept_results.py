"""How much the results of each tenant take in Redis: who is over the quota is refused new work.

The workers count (`penstock/wire/kept_results.py`); here the sums of those who submit are read in
the background, so that a submit costs a look into a table. What is not known refuses nobody: the
first requests of a tenant after a start, Redis away.
"""

import time
from collections.abc import Iterable
from typing import Final

from gateway.access.quotas import over_quota
from gateway.redis.client import RedisClient
from gateway.redis.faults import RedisAwayError
from penstock.looper import Looper
from penstock.wire.kept_results import room_in_s, usage_key

LOOK_S: Final = 2.0
"""Between two looks."""
TURN_TIMEOUT_S: Final = 15.0
LONGEST_RETRY_AFTER_S: Final = 86_400
_AT_ONCE: Final = 100
"""Tenants that are asked for in one round trip."""
_SETTLED_S: Final = 300
"""A field is deleted so long after its time, when no clock of a worker is before it any more."""


class KeptResults:
    """Knows which tenants keep more than their quota.

    Args:
        redis: From `make_redis`.
        quota_bytes: Octets of one tenant; 0: no bound; None: three quarters of Redis' `maxmemory`.
    """

    def __init__(self, redis: RedisClient, quota_bytes: int | None) -> None:
        self._redis = redis
        self._configured = quota_bytes
        self._quota = quota_bytes or 0
        self._seen: set[str] = set()
        self._room_at: dict[str, float] = {}
        self.looper = Looper(
            "kept-results",
            self._turn,
            interval_s=LOOK_S,
            deadline_s=TURN_TIMEOUT_S,
            expected=(RedisAwayError,),
        )
        """Looks again and again."""

    def __repr__(self) -> str:
        """Name the quota and who is over it."""
        return f"<KeptResults {self._quota} bytes, over: {sorted(self._room_at)}>"

    def check(self, tenant: str) -> None:
        """Refuse work whose result would be kept, while the tenant keeps too many.

        Args:
            tenant: Whose work it is.

        Raises:
            Problem: `rate-limited` with `quota: "results"` (queued: no).
        """
        self._seen.add(tenant)
        if tenant in self._room_at:
            left_s = int(self._room_at[tenant] - time.time()) + 1
            raise over_quota(
                "results",
                f"the results that are kept for {tenant!r} take more than its quota of "
                f"{self._quota} bytes: they expire, or `ignore_result` keeps none",
                retry_after_s=min(LONGEST_RETRY_AFTER_S, max(1, left_s)),
                queued="no",
            )

    async def look(self) -> None:
        """Read what those take who submitted since the last look, or were over their quota.

        Raises:
            RedisAwayError: Redis is away: nobody is over a quota that is known.
        """
        seen, self._seen = self._seen, set()
        try:
            await self._find_quota()
            asked = sorted(seen.union(self._room_at)) if self._quota else []
            room_at: dict[str, float] = {}
            for start in range(0, len(asked), _AT_ONCE):
                room_at |= await self._ask(asked[start : start + _AT_ONCE])
        except BaseException:
            self._seen |= seen
            self._room_at = {}
            raise
        self._room_at = room_at

    async def _turn(self) -> None:
        await self.look()

    async def _find_quota(self) -> None:
        if self._configured is None:
            memory = await self._redis.memory()
            self._quota = int(memory.get("maxmemory", 0)) * 3 // 4

    async def _ask(self, tenants: Iterable[str]) -> dict[str, float]:
        """Return when there is room again, of those who are over."""
        room_at: dict[str, float] = {}
        now = time.time()
        async with self._redis.pipeline() as pipe:
            for tenant in tenants:
                pipe.hgetall(usage_key(tenant))
            found = await pipe.execute()
            for tenant, fields in zip(tenants, found, strict=True):
                kept = {int(gone): int(size) for gone, size in fields.items()}
                past = [str(gone) for gone in kept if gone < now - _SETTLED_S]
                if past:
                    pipe.hdel(usage_key(tenant), *past)
                left_s = room_in_s(kept, self._quota, now)
                if left_s:
                    room_at[tenant] = now + left_s
            await pipe.execute()
        return room_at
