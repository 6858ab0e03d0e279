"""Callbacks of tasks whose workers announce no end: kept in Redis, and looked after until they end.

    submitted ──kept──► published ──► looked at again and again ──ended──► announced, let go

Any process looks at what is due, so that a callback outlives the gateway that took it. How long one
waits for the next look grows with its age.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, NamedTuple

import orjson

from gateway.access.task_id import claims
from gateway.endings.callback_events import KEPT_S, CallbackEvents, event_of
from gateway.errors import Problem
from gateway.redis.client import RedisClient
from gateway.redis.faults import RedisAwayError
from gateway.states.reading import States
from penstock.looper import Looper
from penstock.wire.keys import CALLBACK_PREFIX, OUTSTANDING_KEY

log = logging.getLogger(__name__)

_INTERVAL_S: Final = 0.25
_FIRST_S: Final = 0.25
_GROWTH: Final = 0.1
"""The next look comes after so much of the time since the task was due."""
_LONGEST_S: Final = 30.0
_CLAIMED_S: Final = 10.0
"""How long what one process looks at is left alone by the others."""
_AT_ONCE: Final = 500


class Callback(NamedTuple):
    """Where the end of one task is posted."""

    task_id: str
    url: str
    task: str
    delay_s: int
    """When it is due, seconds from now."""


class Outstanding:
    """Keeps callbacks, and announces the ends of their tasks.

    Args:
        redis: From `make_redis`.
        states: Says which tasks have ended.
        events: Announces ends.
    """

    def __init__(self, redis: RedisClient, states: States, events: CallbackEvents) -> None:
        self._redis = redis
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

    async def keep(self, callbacks: Iterable[Callback]) -> None:
        """Write callbacks down before their tasks are published.

        Raises:
            Problem: `rate-limited`, `state-unavailable` (queued: no).
        """
        for callback in callbacks:
            due = time.time() + callback.delay_s
            member = f"{callback.task_id} {int(due)}"
            try:
                await self._events.keep(*callback)
                async with self._redis.pipeline() as pipe:
                    pipe.zadd(OUTSTANDING_KEY, {member: due + _FIRST_S})
                    await pipe.execute()
            except Problem as problem:
                raise Problem(
                    problem.code,
                    f"the callback cannot be kept: {problem.detail}",
                    queued="no",
                    retry_after_s=problem.retry_after_s,
                    members=problem.members,
                ) from problem

    def first(
        self, callback: Callback, publish: Callable[[], Awaitable[None]]
    ) -> "asyncio.Future[None]":
        """Publish a task whose callback is kept first; see `Publisher.publish` for the outcomes."""

        async def keep_and_publish() -> None:
            await self.keep((callback,))
            await publish()

        return asyncio.create_task(keep_and_publish(), name="keep-callback")

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
        now, later, ended = time.time(), {}, []
        for member, task_id in zip(members, ids, strict=True):
            since = now - float(member.partition(" ")[2])
            if states[task_id].final:
                await self._announce(task_id, states[task_id].state)
            elif since <= KEPT_S:
                later[member] = now + min(_LONGEST_S, max(_FIRST_S, since * _GROWTH))
                continue
            else:
                log.warning("callback-forgotten", extra={"id": task_id})
            ended.append(member)
        async with self._redis.pipeline() as pipe:
            if later:
                pipe.zadd(OUTSTANDING_KEY, later, xx=True)
            if ended:
                pipe.zrem(OUTSTANDING_KEY, *ended)
            await pipe.execute()

    async def _announce(self, task_id: str, state: str) -> None:
        found = await self._redis.get(CALLBACK_PREFIX + task_id)
        with contextlib.suppress(orjson.JSONDecodeError):
            event = event_of(task_id, state, orjson.loads(found)) if found else None
            if event is not None:
                await self._events.announce(event)
