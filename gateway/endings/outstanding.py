"""Callbacks of tasks whose workers announce no end: kept in Redis, and looked after until they end.

    submitted ──kept──► published ──► looked at again and again ──ended──► announced ──► forgotten

Any process looks at what is due, so that a callback outlives the gateway that took it. How long one
waits for the next look grows with its age.
"""

import asyncio
import logging
import time
from typing import Any, Final

from gateway.access.task_id import claims
from gateway.endings.callback_events import CallbackEvents, event_of
from gateway.endings.kept_callbacks import FIRST_LOOK_S, KEPT_S, KeptCallbacks, tenant_of
from gateway.errors import Problem
from gateway.redis.client import RedisClient
from gateway.redis.faults import RedisAwayError
from gateway.states.reading import States
from penstock.looper import Looper
from penstock.wire.keys import OUTSTANDING_KEY

log = logging.getLogger(__name__)

_INTERVAL_S: Final = 0.25
_GROWTH: Final = 0.1
"""The next look comes after so much of the time since the task was due."""
_LONGEST_S: Final = 30.0
_CLAIMED_S: Final = 10.0
"""How long what one process looks at is left alone by the others."""
_AT_ONCE: Final = 500


class Outstanding:
    """Announces the ends of tasks.

    Args:
        redis: From `make_redis`.
        states: Says which tasks have ended.
        events: Announces ends.
        kept: Their callbacks.
    """

    def __init__(
        self, redis: RedisClient, states: States, events: CallbackEvents, kept: KeptCallbacks
    ) -> None:
        self._redis = redis
        self._kept = kept
        self._claim = redis.script("callback_claim")
        self._states = states
        self._events = events
        self.looper = Looper(
            "callbacks-outstanding",
            self._turn,
            interval_s=_INTERVAL_S,
            expected=(RedisAwayError, Problem),
        )
        """Looks at what is due."""

    def __repr__(self) -> str:
        """Name the key."""
        return f"<Outstanding in {OUTSTANDING_KEY}>"

    async def _turn(self) -> None:
        """Look at all that is due.

        Raises:
            RedisAwayError: What was taken is due again.
            Problem: It could not be announced, and is due again.
        """
        due = [b""]
        while due and (due := await self._due()):
            await self._look_at([member.decode() for member in due])
            if len(due) < _AT_ONCE:
                return

    async def _due(self) -> list[bytes]:
        now = time.time()
        found: list[bytes] = await self._claim(
            keys=[OUTSTANDING_KEY], args=[now, now + _CLAIMED_S, _AT_ONCE]
        )
        return found

    async def _look_at(self, members: list[str]) -> None:
        ids = [member.partition(" ")[0] for member in members]
        states = await self._states.read({task_id: claims(task_id) for task_id in ids})
        now, later, over = time.time(), {}, {}
        for member, task_id in zip(members, ids, strict=True):
            since = now - float(member.partition(" ")[2])
            if states[task_id].final or since > KEPT_S:
                over[member] = task_id
            else:
                later[member] = now + min(_LONGEST_S, max(FIRST_LOOK_S, since * _GROWTH))
        if later:
            async with self._redis.pipeline() as pipe:
                pipe.zadd(OUTSTANDING_KEY, later, xx=True)
                await pipe.execute()
        callbacks = await self._kept.find(*over.values())
        ends = [
            self._end(task_id, states[task_id].state if states[task_id].final else None, found, one)
            for (one, task_id), found in zip(over.items(), callbacks, strict=True)
        ]
        for problem in await asyncio.gather(*ends, return_exceptions=True):
            if problem is not None:
                raise problem

    async def _end(
        self, task_id: str, state: str | None, found: dict[str, Any], member: str
    ) -> None:
        """Announce an end, and forget its callback once that is confirmed.

        A crash between the two, or another gateway that does the same, announces it once more, as
        the same event.

        Raises:
            Problem: It is due again.
        """
        event = None if state is None else event_of(task_id, state, found)
        if event is not None:
            await self._events.announce(event)
        elif state is None:
            log.warning("callback-forgotten", extra={"id": task_id})
        await self._kept.forget(task_id, tenant_of(found), member)
