"""The consumer of the queue `callbacks`: reads what became of a task and posts it.

event ──► delivered before? ──yes──► acked
│ no
▼
a place for it? ── no ─────► published again, delayed by the broker; acked: this is no attempt
│ yes                        after a day with a receiver that does not answer: dead letters
▼
POST ── 2xx ───────────────► noted, acked
├─ host not allowed ─────► dead letters, acked
└─ anything else ────────► published again, delayed by the broker; acked
after a day: dead letters
"""

import logging
import time
from typing import Any, Final

import msgspec
import orjson

from gateway.access.task_id import claims
from gateway.endings.callback_events import (
    GIVE_UP_S,
    CallbackEvent,
    CallbackEvents,
    insist,
    next_delay_s,
    parse_event,
)
from gateway.endings.callback_post import CallbackFailedError, CallbackPost
from gateway.endings.receivers import ReceiverBusyError, Receivers
from gateway.errors import Problem
from gateway.rabbitmq.connection import Connection
from gateway.rabbitmq.consumer import Consumer, Delivery, UnusableError
from gateway.states.reading import States
from penstock.wire.names import CALLBACKS_QUEUE

log = logging.getLogger(__name__)

AT_ONCE: Final = 128
"""Events in hand at once: more than `Receivers` gives to those that hang, so that others go on."""


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
        self.consumer = Consumer(connection, CALLBACKS_QUEUE, "callbacks", self.handle, AT_ONCE)
        self._events = events
        self._states = states
        self._post = post
        self._receivers = Receivers()

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
            async with self._receivers.calling(event.url):
                body = await self._body(event)
                await self._post.send(
                    event.url,
                    event.event,
                    body,
                    traceparent=event.traceparent,
                    tenant=event.tenant,
                )
        except ReceiverBusyError as busy:
            await self._put_off(event, busy)
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
        if delay_s is None:
            await self._give_up(event, failed.reason)
            return
        extra = {"callback": event.event, "id": event.id, "attempt": event.attempt}
        log.info("callback-failed", extra={**extra, "reason": failed.reason, "delay_s": delay_s})
        await insist(lambda: self._events.again(event, delay_s))

    async def _put_off(self, event: CallbackEvent, busy: ReceiverBusyError) -> None:
        """Publish an event again that was not tried.

        The tries of others speak for it while its receiver is silent: so its end comes, too. A
        receiver that was not called, or failed once, ends none.
        """
        now = time.time()
        since = event.put_off_at or now
        event = msgspec.structs.replace(event, put_off_at=since)
        if busy.silent and now - since >= GIVE_UP_S:
            await self._give_up(event, "it was put off for a day, and its receiver does not answer")
            return
        await insist(lambda: self._events.again(event, busy.delay_s))

    async def _give_up(self, event: CallbackEvent, reason: str) -> None:
        extra = {"callback": event.event, "id": event.id, "attempt": event.attempt}
        log.warning("callback-given-up", extra={**extra, "reason": reason})
        await insist(lambda: self._events.bury(event, "callback-failed", reason))
