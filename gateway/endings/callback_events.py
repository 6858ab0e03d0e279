"""Ends of tasks with a callback, on their way through the queue `callbacks`.

An event is a small message; the final state is read when it is delivered. Its id is made of what
happened, so that the same end announced twice is one event.
"""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from gateway.endings.kept_callbacks import KEPT_S, KeptCallbacks
from gateway.errors import Problem
from gateway.rabbitmq.publisher import Publisher
from gateway.rabbitmq.task_message import MessageOptions, cached_template, template
from gateway.redis.client import RedisClient
from gateway.redis.faults import RedisAwayError
from penstock.backoff import backoff_s
from penstock.looper import Faults
from penstock.wire.delay import delay_route
from penstock.wire.end_events import DELIVER_TASK, end_event
from penstock.wire.headers import (
    ERROR_HEADER,
    ERROR_TYPE_HEADER,
    REASON_HEADER,
    REPLAY_HEADER,
)
from penstock.wire.keys import CALLED_PREFIX, DAY_S
from penstock.wire.names import CALLBACKS_QUEUE, DEAD_EXCHANGE

log = logging.getLogger(__name__)

GIVE_UP_S = DAY_S
"""How long delivery of one event is tried."""
LONGEST_WAIT_S = 3600
RETRY_S = 1.0
"""Between attempts to publish."""


class CallbackEvent(msgspec.Struct, frozen=True, kw_only=True):
    """The end of one task, to be posted to one URL."""

    event: str
    """Its id."""
    id: str
    """Of the task."""
    url: str
    state: str
    """The final state."""
    task: str | None = None
    attempt: int = 0
    """How often it was tried."""
    first_at: float | None = None
    """When it was first tried, unix seconds."""
    put_off_at: float | None = None
    """When it was first put off without a try, because its receiver was busy; unix seconds."""
    replays: int = 0
    """How often it was replayed from the dead letters."""
    traceparent: str | None = None
    """Of the task, where it is part of a trace."""
    tenant: str | None = None
    """Whose the task is, as its message says; None: no gateway published it."""


def event_of(task_id: str, state: str, headers: Mapping[str, Any]) -> CallbackEvent | None:
    """Return the event of an end; None where no callback is wanted.

    Args:
        task_id: The task.
        state: Its final state.
        headers: Of its message; anything may be in them.
    """
    task = headers.get("task")
    found = end_event(task_id, task if isinstance(task, str) else None, state, headers)
    return None if found is None else CallbackEvent(**found)


_decode = msgspec.json.Decoder(CallbackEvent).decode


def parse_event(body: bytes, headers: Mapping[str, Any]) -> CallbackEvent | None:
    """The event of a message; None when it is something else. A replayed one begins afresh.

    Args:
        body: Its body.
        headers: Its headers.
    """
    try:
        event = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    replays = headers.get(REPLAY_HEADER) or 0
    if isinstance(replays, int) and replays > event.replays:
        return msgspec.structs.replace(
            event, replays=replays, attempt=0, first_at=None, put_off_at=None
        )
    return event


def next_delay_s(event: CallbackEvent, now: float) -> int | None:
    """Seconds until an event is tried again; None: it is given up.

    Args:
        event: Its last attempt counted.
        now: Unix seconds.
    """
    if event.first_at is not None and now - event.first_at >= GIVE_UP_S:
        return None
    return max(1, math.ceil(backoff_s(event.attempt, 1, LONGEST_WAIT_S)))


class CallbackEvents:
    """Publishes events, and knows which were delivered.

    Args:
        publisher: Publishes.
        redis: From `make_redis`.
        origin: Who publishes.
        kept: URLs of tasks that may be revoked before they start.
    """

    def __init__(
        self, publisher: Publisher, redis: RedisClient, origin: str, kept: KeptCallbacks
    ) -> None:
        self._publisher = publisher
        self._redis = redis
        self._origin = origin
        self._kept = kept

    async def announce(self, event: CallbackEvent) -> None:
        """Publish an event to be delivered at once.

        Raises:
            Problem: As from `Publisher.publish`.
        """
        await self._publish(event, "", CALLBACKS_QUEUE)

    async def again(self, event: CallbackEvent, delay_s: int) -> None:
        """Publish an event to be delivered later; the broker keeps it meanwhile.

        Args:
            event: The event.
            delay_s: Whole seconds.

        Raises:
            Problem: As from `Publisher.publish`.
        """
        await self._publish(event, *delay_route(delay_s, "", CALLBACKS_QUEUE))

    async def bury(self, event: CallbackEvent, reason: str, error: str) -> None:
        """Publish an event to the dead letters, where an operator can replay it.

        Args:
            event: The event.
            reason: A kebab-case word.
            error: What happened at the last attempt.

        Raises:
            Problem: As from `Publisher.publish`.
        """
        headers = (
            (REASON_HEADER, reason),
            (ERROR_TYPE_HEADER, "CallbackFailed"),
            (ERROR_HEADER, error[:1000]),
            (REPLAY_HEADER, event.replays),
        )
        await self._publish(event, DEAD_EXCHANGE, CALLBACKS_QUEUE, headers)
        await self._kept.forget_ended(event.id)

    async def _publish(
        self,
        event: CallbackEvent,
        exchange: str,
        routing_key: str,
        headers: tuple[tuple[str, Any], ...] = (),
    ) -> None:
        make = template if headers or exchange else cached_template
        made = make(
            DELIVER_TASK,
            exchange,
            routing_key,
            MessageOptions(headers=headers),
            origin=self._origin,
            id_length=len(event.event.encode()),
        )
        await self._publisher.publish(made, event.event, msgspec.json.encode(event))

    async def revoked(self, task_id: str) -> None:
        """Announce that a task was revoked before it started, if that can be done now."""
        try:
            [found] = await self._kept.find(task_id)
            event = event_of(task_id, "REVOKED", found)
            if event is not None:
                await self.announce(event)
        except Problem as problem:
            # The worker that finds the message will announce it.
            log.warning("callback-later", extra={"id": task_id, "reason": str(problem)})

    async def delivered(self, event: CallbackEvent) -> bool:
        """Whether the event was delivered before.

        Raises:
            RedisAwayError: As a problem: `state-unavailable`.
        """
        if not await self._redis.exists(f"{CALLED_PREFIX}{event.event}:{event.replays}"):
            return False
        await self._kept.forget_ended(event.id)  # a copy of its message may have kept it again
        return True

    async def mark_delivered(self, event: CallbackEvent) -> None:
        """Remember, if Redis is there, that the event was delivered; forget its callback."""
        key = f"{CALLED_PREFIX}{event.event}:{event.replays}"
        try:
            await self._redis.set(key, str(time.time()).encode(), keep_s=KEPT_S)
        except RedisAwayError as error:
            log.warning("callback-not-noted", extra={"key": key, "reason": error.reason})
            return
        await self._kept.forget_ended(event.id)


_unpublished = Faults("callbacks-unpublished", expected=(Problem,))


async def insist(publish: Callable[[], Awaitable[None]]) -> None:
    """Publish until it is confirmed: the message in hand must not be acknowledged before."""
    while True:
        try:
            await publish()
        except Problem as problem:
            _unpublished.failed(problem)
            await asyncio.sleep(RETRY_S)
        else:
            _unpublished.well()
            return
