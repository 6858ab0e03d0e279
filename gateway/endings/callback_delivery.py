"""The consumer of the queue `callbacks`: reads what became of a task and posts it.

event ──► delivered before? ──yes──► acked
│ no
▼
POST ── 2xx ───────────────► noted, acked
├─ host not allowed ─────► dead letters, acked
└─ anything else ────────► published again, delayed by the broker; acked
after a day: dead letters
"""

import logging
import time
from typing import Any

import msgspec
import orjson

from gateway.access.task_id import claims
from gateway.endings.callback_events import (
    CallbackEvent,
    CallbackEvents,
    insist,
    next_delay_s,
    parse_event,
)
from gateway.endings.callback_post import CallbackFailedError, CallbackPost
from gateway.errors import Problem
from gateway.rabbitmq.connection import Connection
from gateway.rabbitmq.consumer import Consumer, Delivery, UnusableError
from gateway.states.reading import States
from penstock.wire.names import CALLBACKS_QUEUE

log = logging.getLogger(__name__)


class CallbackDelivery:
    """Delivers events.

    Args:
        connection: Brings the events.
        events: Publishes those that are tried again.
        states: Reads states.
        post: Sends them.
    """

    def __init__(
        self, connection: Connection, events: CallbackEvents, states: States, post: CallbackPost
    ) -> None:
        self.consumer = Consumer(connection, CALLBACKS_QUEUE, "callbacks", self.handle)
        self._events = events
        self._states = states
        self._post = post

    async def handle(self, delivery: Delivery) -> None:
        """Deliver the event of one message, or see to it that it is tried again.

        Raises:
            UnusableError: It is no event.
        """
        event = parse_event(delivery.body, delivery.headers)
        if event is None:
            log.warning("callback-not-an-event", extra={"id": repr(delivery.message_id)})
            raise UnusableError
        await self._deliver(event)

    async def _deliver(self, event: CallbackEvent) -> None:
        try:
            if await self._events.delivered(event):
                return
            await self._post.send(
                event.url, event.event, await self._body(event), event.traceparent
            )
        except CallbackFailedError as failed:
            await self._try_again(event, failed)
        except Problem as problem:  # Redis is away: what became of the task is not known now
            await self._try_again(event, CallbackFailedError(str(problem)))
        else:
            await self._events.mark_delivered(event)
            log.info("callback-delivered", extra={"callback": event.event, "id": event.id})

    async def _body(self, event: CallbackEvent) -> bytes:
        """Return the final state as `GET /v1/tasks/{id}` does; the bare end where none is kept.

        Raises:
            RedisAwayError: As a problem.
        """
        issued = claims(event.id)
        if issued is None or issued.tracked:
            state = (await self._states.read({event.id: issued}))[event.id]
            if state.final:
                return state.to_json(admin=False)
        members: dict[str, Any] = {"id": event.id}
        if issued is not None and not issued.tracked:
            members["tracked"] = False
        if event.task is not None:
            members["task"] = event.task
        return orjson.dumps({**members, "state": event.state})

    async def _try_again(self, event: CallbackEvent, failed: CallbackFailedError) -> None:
        now = time.time()
        event = msgspec.structs.replace(
            event, attempt=event.attempt + 1, first_at=event.first_at or now
        )
        delay_s = None if failed.final else next_delay_s(event, now)
        extra = {"callback": event.event, "id": event.id, "attempt": event.attempt}
        if delay_s is None:
            log.warning("callback-given-up", extra={**extra, "reason": failed.reason})
            await insist(lambda: self._events.bury(event, "callback-failed", failed.reason))
            return
        log.info("callback-failed", extra={**extra, "reason": failed.reason, "delay_s": delay_s})
        await insist(lambda: self._events.again(event, delay_s))
