"""The gate: delayed messages to what an app owns pass it when their delay is over.

    delay levels ──► penstock_gate ──► revoked meanwhile, or expired ──► its end is recorded
                                  └──► published to its destination, confirmed

Workers of an app remember what was revoked only until they stop, and RabbitMQ cannot take a message
out of a queue. Up to the gate a revoked task has therefore certainly not begun. A message may come
here again after it was passed on, when a gateway dies before RabbitMQ has its acknowledgement: what
became of the first copy only workers know, so that the second follows it, whatever was revoked.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final

from gateway.endings.outcomes import Outcome, Outcomes, sane_id
from gateway.errors import Problem
from gateway.rabbitmq.connection import Connection
from gateway.rabbitmq.consumer import Consumer, Delivery, UnusableError
from gateway.rabbitmq.publisher import Publisher
from gateway.rabbitmq.settling import ACKS_IN_A_ROW
from gateway.redis.client import RedisClient
from gateway.redis.faults import RedisAwayError
from gateway.timestamps import unix_of
from penstock.wire.delay import delay_route
from penstock.wire.headers import BROKER_PREFIXES, GATE_HEADER
from penstock.wire.keys import PASSED_S, passed_key
from penstock.wire.names import GATE_QUEUE

_AGAIN_S: Final = 1.0
_FULL_S: Final = 10
"""How long a message waits once more when the queue of the app refuses it."""


class Gate:
    """Passes messages on.

    Args:
        connection: Brings the messages.
        publisher: Publishes them.
        redis: Knows which tasks are revoked.
        outcomes: Records the end of those that are not passed on.
    """

    def __init__(
        self,
        connection: Connection,
        publisher: Publisher,
        redis: RedisClient,
        outcomes: Outcomes,
    ) -> None:
        self._publisher = publisher
        self._redis = redis
        self._pass = redis.script("gate_pass", copied=True)
        self._outcomes = outcomes
        self.consumer = Consumer(connection, GATE_QUEUE, "gate", self.handle, ACKS_IN_A_ROW)

    async def handle(self, delivery: Delivery) -> None:
        """Pass one message on, or record the end of its task.

        Raises:
            UnusableError: It says no destination, or nothing takes it there.
        """
        headers = delivery.headers
        destination = _destination(headers)
        task_id = sane_id(headers)
        if task_id is not None and (why := await self._why_not(task_id, headers)):
            task = headers.get("task")
            end = Outcome(task_id, "REVOKED", why, task if isinstance(task, str) else None)
            await self._outcomes.finish(end, delivery)
            return
        await self._pass_on(delivery, task_id, *destination)

    async def _why_not(self, task_id: str, headers: Mapping[str, Any]) -> str:
        """Return why a task is not to run; empty: it is, or may. Waits for Redis to know."""
        expires = unix_of(headers.get("expires"))
        expired = expires is not None and expires <= time.time()
        keys = self._redis.keys.task(task_id)
        while True:
            try:
                why: bytes = await self._pass(
                    keys=[keys.revoked, passed_key(keys.record)], args=[int(expired), PASSED_S]
                )
                return why.decode()
            except RedisAwayError:
                await asyncio.sleep(_AGAIN_S)

    async def _stopped(self, task_id: str | None) -> None:
        """Note that a message was not passed on after all. Waits for Redis."""
        while task_id is not None:
            try:
                await self._redis.delete(passed_key(self._redis.keys.task(task_id).record))
            except RedisAwayError:
                await asyncio.sleep(_AGAIN_S)
            else:
                return

    async def _pass_on(
        self, delivery: Delivery, task_id: str | None, exchange: str, routing_key: str
    ) -> None:
        headers = {
            name: value
            for name, value in delivery.headers.items()
            if name != GATE_HEADER and not name.startswith(BROKER_PREFIXES)
        }
        message = delivery.again(exchange, routing_key, headers)
        message_id = delivery.message_id or str(headers.get("id", GATE_QUEUE))
        while True:
            try:
                await self._publisher.publish(message, message_id, delivery.body)
            except Problem as problem:
                if problem.code == "unroutable":
                    await self._stopped(task_id)
                    raise UnusableError(problem.detail) from problem
                if problem.code == "queue-full":
                    await self._stopped(task_id)
                    headers[GATE_HEADER] = [exchange, routing_key]
                    message = delivery.again(*delay_route(_FULL_S, "", GATE_QUEUE), headers)
                else:
                    await asyncio.sleep(_AGAIN_S)
            else:
                return


def _destination(headers: Mapping[str, Any]) -> tuple[str, str]:
    """Return where a message is to go.

    Raises:
        UnusableError: It does not say so.
    """
    match headers.get(GATE_HEADER):
        case [str(exchange), str(routing_key)]:
            return exchange, routing_key
    raise UnusableError("no destination")
