"""Ends of tasks with a callback, on their way through the queue `callbacks`.

An event is a small message; the final state is read when it is delivered. Its id is made of what
happened, so that the same end announced twice is one event.
"""

import asyncio
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
import orjson

from gateway.access.quotas import over_quota
from gateway.config import Quotas
from gateway.errors import Problem
from gateway.rabbitmq.publisher import Publisher
from gateway.rabbitmq.task_message import MessageOptions, cached_template, template
from gateway.redis.client import RedisClient
from gateway.redis.faults import RedisAwayError
from gateway.sharing.tenant import TENANT
from penstock.looper import Faults
from penstock.wire.delay import delay_route
from penstock.wire.end_events import DELIVER_TASK, end_event
from penstock.wire.headers import (
    CALLBACK_HEADER,
    ERROR_HEADER,
    ERROR_TYPE_HEADER,
    REASON_HEADER,
    REPLAY_HEADER,
)
from penstock.wire.keys import CALLBACK_PREFIX, CALLED_PREFIX, DAY_S, KEPT_CALLBACKS_PREFIX
from penstock.wire.names import CALLBACKS_QUEUE, DEAD_EXCHANGE

log = logging.getLogger(__name__)

GIVE_UP_S = DAY_S
"""How long delivery of one event is tried."""
LONGEST_WAIT_S = 3600
RETRY_S = 1.0
"""Between attempts to publish."""
KEPT_S = 8 * DAY_S
"""How long it is known what was delivered, and which URL a task has, beyond its delay."""


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
    longest = min(LONGEST_WAIT_S, 2.0 ** min(event.attempt, 30))
    return max(1, math.ceil(longest * random.uniform(0.5, 1)))  # noqa: S311  # jitter


class CallbackEvents:
    """Publishes events, and remembers URLs of tasks that may be revoked before they start.

    Args:
        publisher: Publishes.
        redis: From `make_redis`.
        origin: Who publishes.
        quota_bytes: What the URLs of one tenant may take.
    """

    def __init__(
        self,
        publisher: Publisher,
        redis: RedisClient,
        origin: str,
        quota_bytes: int = Quotas().callback_bytes,
    ) -> None:
        self._publisher = publisher
        self._redis = redis
        self._origin = origin
        self._remember = redis.script("callback_remember")
        self._quota_bytes = quota_bytes
        self._unnoted = Faults("callbacks-unnoted", expected=(Problem,))
        self._writes: set[asyncio.Task[None]] = set()

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

    def remember(self, task_id: str, url: str, task: str, delay_s: int) -> None:
        """Write down the URL of a task, in the background, if Redis is there and the quota allows.

        By that a revoked task is announced at once; without it, when a worker finds its message.

        Args:
            task_id: The task.
            url: Its callback.
            task: Its name.
            delay_s: When it is due, seconds from now.
        """
        keep = self.keep(task_id, url, task, delay_s)
        write = asyncio.create_task(self._note(keep), name="remember-callback")
        self._writes.add(write)
        write.add_done_callback(self._writes.discard)

    async def keep(self, task_id: str, url: str, task: str, delay_s: int) -> None:
        """Write down the URL of a task; the arguments are those of `remember`.

        Raises:
            Problem: `rate-limited`, `state-unavailable`.
        """
        tenant, keep_s = TENANT.get(), KEPT_S + delay_s
        today = int(time.time() // DAY_S)
        noted = await self._remember(
            keys=[CALLBACK_PREFIX + task_id, KEPT_CALLBACKS_PREFIX + tenant],
            args=[
                orjson.dumps({CALLBACK_HEADER: url, "task": task}),
                keep_s,
                today,
                today + 1 + keep_s // DAY_S,
                self._quota_bytes,
            ],
        )
        if not noted:
            raise over_quota("callbacks", f"the callbacks of {tenant!r}", retry_after_s=1)

    async def revoked(self, task_id: str) -> None:
        """Announce that a task was revoked before it started, if that can be done now."""
        try:
            found = await self._redis.get(CALLBACK_PREFIX + task_id)
            event = event_of(task_id, "REVOKED", orjson.loads(found)) if found else None
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
        return await self._redis.exists(f"{CALLED_PREFIX}{event.event}:{event.replays}")

    async def mark_delivered(self, event: CallbackEvent) -> None:
        """Remember, if Redis is there, that the event was delivered."""
        at = str(time.time()).encode()
        await self._write(f"{CALLED_PREFIX}{event.event}:{event.replays}", at, KEPT_S)

    async def _note(self, keep: Awaitable[None]) -> None:
        try:
            await keep
        except Problem as problem:
            self._unnoted.failed(problem)
        else:
            self._unnoted.well()

    async def _write(self, key: str, value: bytes, keep_s: int) -> None:
        try:
            await self._redis.set(key, value, keep_s=keep_s)
        except RedisAwayError as error:
            log.warning("callback-not-noted", extra={"key": key, "reason": error.reason})


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
