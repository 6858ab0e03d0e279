"""What a schedule may run is what its key may submit: looked at again whenever keys change.

Beat knows no keys. The gateway, which watches them, suspends the schedules of a key that is gone or
no longer may submit their task, and lets them run again when it may. `POST …/run` is checked as a
submit of its caller besides.
"""

import logging
import time
from contextlib import aclosing

from gateway.access.keyring import KeyRing
from gateway.errors import Problem
from gateway.redis.faults import RedisAwayError
from gateway.schedules.schedule_request import task_of
from gateway.schedules.schedules import Entry, Schedules
from gateway.submitting.planning import Planner
from penstock.looper import Looper

LOOK_S = 1.0
"""How often the keys are compared."""
TURN_TIMEOUT_S = 30.0
SWEEP_S = 60.0
"""How often every schedule is looked at although no key changed: another gateway's may have."""

log = logging.getLogger(__name__)


class ScheduleGuard:
    """Suspends schedules, in the background.

    Args:
        schedules: All of them.
        keyring: The keys.
        planner: Knows what a key may submit.
    """

    def __init__(self, schedules: Schedules, keyring: KeyRing, planner: Planner) -> None:
        self._schedules = schedules
        self._keyring = keyring
        self._planner = planner
        self._seen: object = None
        self._swept_at = float("-inf")
        self.looper = Looper(
            "schedule-guard",
            self.turn,
            interval_s=LOOK_S,
            deadline_s=TURN_TIMEOUT_S,
            expected=(RedisAwayError,),
        )
        """Looks again and again."""

    async def turn(self) -> None:
        """Look at every schedule if a key changed, or a minute has passed.

        Raises:
            Problem: `state-unavailable`.
        """
        keys = self._keyring.version
        if keys is self._seen and time.monotonic() - self._swept_at < SWEEP_S:
            return
        if self._keyring.configured:
            await self._look_at_all()
        self._seen, self._swept_at = keys, time.monotonic()

    async def _look_at_all(self) -> None:
        """Look at each; one that fails costs no other its turn."""
        failed: Exception | None = None
        async with aclosing(self._schedules.each()) as schedules:
            async for schedule in schedules:
                try:
                    await self._look_at(schedule)
                except RedisAwayError:
                    raise
                except Exception as error:  # noqa: BLE001  # raised below, when all had their turn
                    failed = error
        if failed is not None:
            raise failed

    async def _look_at(self, schedule: Entry) -> None:
        if schedule.owner is None:
            return
        reason = self._reason(schedule, schedule.owner.key)
        if reason == schedule.owner.suspended:
            return
        await self._schedules.suspend(schedule, reason)
        log.warning(
            "schedule-suspended" if reason else "schedule-resumed",
            extra={"schedule": schedule.name, "tenant_of": schedule.tenant, "reason": reason},
        )

    def _reason(self, schedule: Entry, key: str) -> str:
        """Return why its key may not run it; empty: it may."""
        caller = self._keyring.named(key)
        if caller is None:
            return f"the key {key!r}, which made it, is gone"
        if caller.tenant != schedule.tenant and not caller.admin:
            return f"the key {key!r}, which made it, belongs to another tenant"
        if not caller.may("schedule"):
            return f"the key {key!r}, which made it, lacks the scope 'schedule'"
        try:
            self._planner.authorise(task_of(schedule.definition), caller)
        except Problem as problem:
            if problem.code == "forbidden":
                return f"{problem.detail} (key {key!r}, which made it)"
        return ""
