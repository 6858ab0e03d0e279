"""A consumer that stays: one queue, its deliveries handed on, for as long as the process lives.

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
from typing import Any, Final, Literal

from aiormq.abc import AbstractChannel, DeliveredMessage
from pamqp.commands import Basic

from gateway.rabbitmq.connection import RECONNECT_INTERVAL_S, Connection
from gateway.rabbitmq.faults import BrokerAwayError, MissingEntityError, broker_calls
from gateway.rabbitmq.message import Message
from penstock.looper import Faults, Looper

log = logging.getLogger(__name__)

PREFETCH: Final = 64
"""Deliveries handled at once."""
ATTEMPTS: Final = 3
"""At a delivery that raises something which no server's absence explains."""
_AGAIN_S: Final = 1.0
_REMEMBERED: Final = 1024
_SETUP_TIMEOUT_S: Final = 5.0
_SETTLE_TIMEOUT_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One message from a queue."""

    message_id: str | None
    headers: Mapping[str, Any] = field(repr=False)
    """Anything may be in them."""
    body: bytes = field(repr=False)
    properties: Basic.Properties = field(default_factory=Basic.Properties, repr=False)

    def again(self, exchange: str, routing_key: str, headers: Mapping[str, Any]) -> Message:
        """Return the same message with other headers, to be published elsewhere."""
        properties = self.properties
        return Message(
            exchange=exchange,
            routing_key=routing_key,
            headers=headers,
            content_type=properties.content_type,
            content_encoding=properties.content_encoding,
            correlation_id=properties.correlation_id,
            reply_to=properties.reply_to,
            priority=properties.priority,
        )


class UnusableError(Exception):
    """Raised by a handler: the delivery is nothing that it knows, now or later."""


Handle = Callable[[Delivery], Awaitable[None]]


class Consumer:
    """Consumes a queue, however often RabbitMQ goes away meanwhile.

    Args:
        connection: Lends it a channel.
        queue_name: A queue that the layout declares.
        name: One word for the loop and the log.
        handle: Called with each delivery; once it returns, the delivery is acknowledged.
    """

    def __init__(self, connection: Connection, queue_name: str, name: str, handle: Handle) -> None:
        self._connection = connection
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
            deadline_s=3 * _SETUP_TIMEOUT_S,
            longest_wait_s=RECONNECT_INTERVAL_S,
            expected=(BrokerAwayError, MissingEntityError),
        )
        """Keeps its channel."""

    async def _consume(self) -> None:
        """Consume until the channel is lost, or RabbitMQ cancels the consumer.

        Raises:
            BrokerAwayError: That happened, or there is no connection.
            MissingEntityError: The queue is not declared yet.
        """
        async with self._connection.channel() as channel:
            async with broker_calls(_SETUP_TIMEOUT_S):
                ended = end_of(channel)
                await channel.basic_qos(prefetch_count=PREFETCH)
                await channel.basic_consume(self._queue_name, self._take)
            self.looper.well()
            reason = await ended
            raise BrokerAwayError(f"the consumer of {self._queue_name!r} has ended: {reason}")

    async def _take(self, message: DeliveredMessage) -> None:
        properties = message.header.properties
        delivery = Delivery(
            message_id=properties.message_id,
            headers=properties.headers or {},
            body=message.body,
            properties=properties,
        )
        try:
            await self._handle(delivery)
        except UnusableError:
            await _settle(message, "reject")
        except Exception as error:  # noqa: BLE001  # whatever a message makes of us
            self._unhandled.failed(error)
            await self._give_back(message, delivery)
        else:
            self.acknowledged += await _settle(message, "ack")

    async def _give_back(self, message: DeliveredMessage, delivery: Delivery) -> None:
        """Requeue a delivery after a pause, or reject it."""
        name = f"{delivery.message_id} {hash(delivery.body)}"
        attempt = self._attempts.pop(name, 0) + 1
        if attempt == ATTEMPTS:
            self.given_up += 1
            log.error(
                "message-given-up",
                extra={"queue": self._queue_name, "id": repr(delivery.message_id)[:200]},
            )
            await _settle(message, "reject")
            return
        self._attempts[name] = attempt
        while len(self._attempts) > _REMEMBERED:
            self._attempts.popitem(last=False)
        await asyncio.sleep(_AGAIN_S)
        await _settle(message, "requeue")


async def _settle(message: DeliveredMessage, how: Literal["ack", "reject", "requeue"]) -> bool:
    """Acknowledge, reject or requeue a delivery; return False if it was lost, and comes again."""
    channel, tag = message.channel, message.delivery_tag or 0
    try:
        async with broker_calls(_SETTLE_TIMEOUT_S):
            if how == "ack":
                await channel.basic_ack(tag)
            else:
                await channel.basic_reject(tag, requeue=how == "requeue")
    except BrokerAwayError:
        return False
    return True


def end_of(channel: AbstractChannel) -> "asyncio.Future[str]":
    """Return what resolves when nothing is delivered any more, with the reason."""
    ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def end(reason: str) -> None:
        if not ended.done():
            ended.set_result(reason)

    channel.closing.add_done_callback(lambda _: end("its channel was lost"))
    # RabbitMQ cancels a consumer whose queue is deleted or moved; the channel stays.
    channel.on_consumer_cancel_callbacks.add(lambda _: end("RabbitMQ cancelled it"))
    return ended
