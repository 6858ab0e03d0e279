"""Periodic tasks: what keeps them, and what suspends those whose key may no longer submit them."""

from dataclasses import dataclass

from gateway.access.keyring import KeyRing
from gateway.config import Quotas
from gateway.redis.client import RedisClient
from gateway.schedules.guard import ScheduleGuard
from gateway.schedules.schedules import Schedules
from gateway.submitting.planning import Planner
from penstock.looper import Looper


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduling:
    """How tasks recur."""

    schedules: Schedules
    guard: ScheduleGuard

    @classmethod
    def make(
        cls, quotas: Quotas, redis: RedisClient, keyring: KeyRing, planner: Planner
    ) -> "Scheduling":
        """Make it.

        Args:
            quotas: What one tenant may keep.
            redis: From `make_redis`.
            keyring: Knows the keys.
            planner: Knows what they may submit.
        """
        schedules = Schedules(redis, quotas)
        return cls(schedules=schedules, guard=ScheduleGuard(schedules, keyring, planner))

    @property
    def loopers(self) -> tuple[Looper, ...]:
        """Suspend schedules whose key lost its rights."""
        return (self.guard.looper,)
