"""A consumer that stays: one queue, its deliveries handed on, for as long as the process lives.

A delivery that cannot be handled costs no slot of the consumer:

    handle ──returns──────────────► acknowledged
       ├── raises UnusableError ──► rejected: a dead letter where the queue has a dead-letter
       │                            exchange
       └── raises anything else ──► requeued after a pause ──third time──► rejected, too
"""

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from aiormq.abc import AbstractChannel, DeliveredMessage
from pamqp.commands import Basic

from gateway.rabbitmq.connection import RECONNECT_INTERVAL_S, Connection
from gateway.rabbitmq.faults import BrokerAwayError, MissingEntityError, broker_calls
from gateway.rabbitmq.message import Message
from gateway.rabbitmq.settling import settle
from penstock.looper import Faults, Looper

log = logging.getLogger(__name__)

PREFETCH: Final = 64
"""Deliveries handled at once by default."""
ATTEMPTS: Final = 3
"""At a delivery that raises something which no server's absence explains."""
_AGAIN_S: Final = 1.0
_REMEMBERED: Final = 1024
_SETUP_TIMEOUT_S: Final = 5.0
FINISH_TIMEOUT_S: Final = 3.0
"""How long an end in order waits for what is under way."""


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
        at_once: Deliveries handled at once.
    """

    def __init__(
        self,
        connection: Connection,
        queue_name: str,
        name: str,
        handle: Handle,
        at_once: int = PREFETCH,
    ) -> None:
        self._connection = connection
        self._queue_name = queue_name
        self._handle = handle
        self._at_once = at_once
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._cancel: Callable[[], Awaitable[object]] | None = None
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
                await channel.basic_qos(prefetch_count=self._at_once)
                tag = (await channel.basic_consume(self._queue_name, self._take)).consumer_tag
            self.looper.well()
            self._cancel = partial(channel.basic_cancel, tag or "")
            try:
                reason = await ended
            finally:
                self._cancel = None
            raise BrokerAwayError(f"the consumer of {self._queue_name!r} has ended: {reason}")

    async def finish(self) -> None:
        """Take nothing more, and wait until what is under way is done, 3 s at most.

        For an end in order: the loop still runs, and is stopped next. What is not done by then
        comes again.
        """
        if self._cancel is None:
            return
        with contextlib.suppress(BrokerAwayError):
            async with broker_calls(FINISH_TIMEOUT_S):
                await self._cancel()
                await self._idle.wait()

    async def _take(self, message: DeliveredMessage) -> None:
        self._under_way += 1
        self._idle.clear()
        try:
            await self._settled(message)
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()

    async def _settled(self, message: DeliveredMessage) -> None:
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
            await settle(message, "reject")
        except Exception as error:  # noqa: BLE001  # whatever a message makes of us
            self._unhandled.failed(error)
            await self._give_back(message, delivery)
        else:
            self.acknowledged += await settle(message, "ack")

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
            await settle(message, "reject")
            return
        self._attempts[name] = attempt
        while len(self._attempts) > _REMEMBERED:
            self._attempts.popitem(last=False)
        await asyncio.sleep(_AGAIN_S)
        await settle(message, "requeue")


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
