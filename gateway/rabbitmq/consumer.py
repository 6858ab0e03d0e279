"""A consumer that stays: one queue, its messages handed on, connected again whenever needed.

A message that cannot be handled costs no slot of the consumer:

    handle ──raises──► requeued after a pause ──third time──► rejected: a dead letter where the
                                                              queue has a dead-letter exchange
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, Final

import aio_pika
from aio_pika.abc import AbstractIncomingMessage, AbstractQueue
from aiormq.exceptions import AMQPError, ChannelInvalidStateError

from gateway.rabbitmq.publisher import amqp_url
from penstock.looper import Faults, Looper

log = logging.getLogger(__name__)

PREFETCH: Final = 64
"""Messages handled at once."""
ATTEMPTS: Final = 3
"""At a message that raises something which no server's absence explains."""
_CONNECT_TIMEOUT_S: Final = 5.0
_AGAIN_S: Final = 1.0
_REMEMBERED: Final = 1024
_BROKER_FAULTS: Final = (AMQPError, OSError, RuntimeError, TimeoutError)
LOST: Final = (ChannelInvalidStateError, *_BROKER_FAULTS)
"""What an ack or a reject raises when the connection is lost: the message will come again."""

Handle = Callable[[AbstractIncomingMessage], Awaitable[None]]


class Consumer:
    """Consumes a queue, however often RabbitMQ goes away meanwhile.

    Args:
        url: RabbitMQ.
        queue_name: A queue that the layout declares.
        name: One word for the connection's name, the loop and the log.
        handle: Called with each message; acknowledges it.
    """

    def __init__(self, url: str, queue_name: str, name: str, handle: Handle) -> None:
        self._url = amqp_url(url, f"penstock-{name}")
        self._queue_name = queue_name
        self._handle = handle
        self._messages = Faults(f"{name}-messages")
        self._attempts: OrderedDict[str, int] = OrderedDict()
        self.given_up = 0
        """Messages rejected because they could not be handled."""
        self.looper = Looper(
            name,
            self._consume,
            interval_s=0.0,
            deadline_s=2 * _CONNECT_TIMEOUT_S,
            expected=_BROKER_FAULTS,
        )
        """Keeps the connection."""

    async def _consume(self) -> None:
        """Connect and consume until the channel or its connection is lost.

        Raises:
            ConnectionError: They were lost.
        """
        async with asyncio.timeout(_CONNECT_TIMEOUT_S):
            connection = await aio_pika.connect(self._url)
        async with connection:
            channel = await connection.channel()
            await channel.set_qos(PREFETCH)
            queue = await channel.get_queue(self._queue_name)
            await self._until_lost(queue)
        raise ConnectionError(f"the channel on {self._queue_name!r} was closed")

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
        try:
            await self._handle(message)
        except Exception as error:  # noqa: BLE001  # whatever a message makes of us
            self._messages.failed(error)
            await self._give_back(message)

    async def _give_back(self, message: AbstractIncomingMessage) -> None:
        """Have a message come again, or not."""
        name = f"{message.message_id} {hash(message.body)}"
        attempt = self._attempts.pop(name, 0) + 1
        again = attempt < ATTEMPTS
        if again:
            self._attempts[name] = attempt
            while len(self._attempts) > _REMEMBERED:
                self._attempts.popitem(last=False)
            await asyncio.sleep(_AGAIN_S)
        else:
            self.given_up += 1
            log.error(
                "message-given-up",
                extra={"queue": self._queue_name, "id": repr(message.message_id)[:200]},
            )
        try:
            await message.reject(requeue=again)
        except (*LOST, aio_pika.exceptions.MessageProcessError):
            return  # it comes again; or the handler had acknowledged it
