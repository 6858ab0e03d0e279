"""A consumer that stays: one queue, its deliveries handed on, connected again whenever needed.

A delivery that cannot be handled costs no slot of the consumer:

    handle ──returns──────────────► acknowledged
       ├── raises UnusableError ──► rejected: a dead letter where the queue has a dead-letter
       │                            exchange
       └── raises anything else ──► requeued after a pause ──third time──► rejected, too
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import aio_pika
from aio_pika.abc import AbstractIncomingMessage, AbstractQueue

from gateway.rabbitmq.connection import CONNECT_TIMEOUT_S, amqp_url
from gateway.rabbitmq.faults import BrokerAwayError, MissingEntityError, broker_calls
from penstock.looper import Faults, Looper

log = logging.getLogger(__name__)

PREFETCH: Final = 64
"""Deliveries handled at once."""
ATTEMPTS: Final = 3
"""At a delivery that raises something which no server's absence explains."""
_AGAIN_S: Final = 1.0
_REMEMBERED: Final = 1024
_SETTLE_TIMEOUT_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One message from a queue."""

    message_id: str | None
    headers: Mapping[str, Any] = field(repr=False)
    """Anything may be in them."""
    body: bytes = field(repr=False)


class UnusableError(Exception):
    """Raised by a handler: the delivery is nothing that it knows, now or later."""


Handle = Callable[[Delivery], Awaitable[None]]


class Consumer:
    """Consumes a queue, however often RabbitMQ goes away meanwhile.

    Args:
        url: RabbitMQ.
        queue_name: A queue that the layout declares.
        name: One word for the connection's name, the loop and the log.
        handle: Called with each delivery; once it returns, the delivery is acknowledged.
    """

    def __init__(self, url: str, queue_name: str, name: str, handle: Handle) -> None:
        self._url = amqp_url(url, f"penstock-{name}")
        self._queue_name = queue_name
        self._handle = handle
        self._unhandled = Faults(f"{name}-messages")
        self._attempts: OrderedDict[str, int] = OrderedDict()
        self.acknowledged = 0
        """Deliveries handled and acknowledged."""
        self.given_up = 0
        """Deliveries rejected because they could not be handled."""
        self.looper = Looper(
            name,
            self._consume,
            interval_s=0.0,
            deadline_s=2 * CONNECT_TIMEOUT_S,
            expected=(BrokerAwayError, MissingEntityError),
        )
        """Keeps the connection."""

    async def _consume(self) -> None:
        """Connect and consume until the channel or its connection is lost.

        Raises:
            BrokerAwayError: They were lost.
            MissingEntityError: The queue is not declared yet.
        """
        async with broker_calls(None):
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                connection = await aio_pika.connect(self._url)
            async with connection:
                channel = await connection.channel()
                await channel.set_qos(PREFETCH)
                queue = await channel.get_queue(self._queue_name)
                await self._until_lost(queue)
        raise BrokerAwayError(f"the channel on {self._queue_name!r} was closed")

    async def _until_lost(self, queue: AbstractQueue) -> None:
        closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def lost(*_: Any) -> None:
            if not closed.done():
                closed.set_result(None)

        queue.channel.close_callbacks.add(lost)
        await queue.consume(self._take)
        self.looper.well()
        await closed

    async def _take(self, message: AbstractIncomingMessage) -> None:
        delivery = Delivery(
            message_id=message.message_id, headers=message.headers, body=message.body
        )
        try:
            await self._handle(delivery)
        except UnusableError:
            await self._settle(message.reject)
        except Exception as error:  # noqa: BLE001  # whatever a message makes of us
            self._unhandled.failed(error)
            await self._give_back(message)
        else:
            self.acknowledged += await self._settle(message.ack)

    async def _give_back(self, message: AbstractIncomingMessage) -> None:
        """Requeue a delivery after a pause, or reject it."""
        name = f"{message.message_id} {hash(message.body)}"
        attempt = self._attempts.pop(name, 0) + 1
        if attempt == ATTEMPTS:
            self.given_up += 1
            log.error(
                "message-given-up",
                extra={"queue": self._queue_name, "id": repr(message.message_id)[:200]},
            )
            await self._settle(message.reject)
            return
        self._attempts[name] = attempt
        while len(self._attempts) > _REMEMBERED:
            self._attempts.popitem(last=False)
        await asyncio.sleep(_AGAIN_S)
        await self._settle(partial(message.reject, requeue=True))

    async def _settle(self, settle: Callable[[], Awaitable[None]]) -> bool:
        """Acknowledge, requeue or reject a delivery; False: it was lost, and comes again."""
        try:
            async with broker_calls(_SETTLE_TIMEOUT_S):
                await settle()
        except BrokerAwayError:
            return False
        return True
