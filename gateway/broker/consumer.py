"""A consumer that stays: one queue, its messages handed on, connected again whenever needed."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

import aio_pika
from aio_pika.abc import AbstractIncomingMessage, AbstractQueue
from aiormq.exceptions import AMQPError, ChannelInvalidStateError

from gateway.publishing.publisher import amqp_url

log = logging.getLogger(__name__)

PREFETCH: Final = 64
"""Messages handled at once."""
_CONNECT_TIMEOUT_S: Final = 5.0
_RETRY_S: Final = 1.0
_BROKER_FAULTS: Final = (AMQPError, OSError, RuntimeError, TimeoutError)
LOST: Final = (ChannelInvalidStateError, *_BROKER_FAULTS)
"""What an ack or a reject raises when the connection is lost: the message will come again."""

Handle = Callable[[AbstractIncomingMessage], Awaitable[None]]


async def consume(url: str, queue_name: str, name: str, handle: Handle) -> None:
    """Consume a queue until cancelled, however often RabbitMQ goes away meanwhile.

    Args:
        url: RabbitMQ.
        queue_name: A queue that the layout declares.
        name: One word for the connection's name and for the log.
        handle: Told each message; acknowledges it.
    """
    complained = False
    while True:
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                connection = await aio_pika.connect(amqp_url(url, f"penstock-{name}"))
            async with connection:
                channel = await connection.channel()
                await channel.set_qos(PREFETCH)
                queue = await channel.get_queue(queue_name)
                complained = False
                await _until_lost(queue, handle)
        except _BROKER_FAULTS as error:
            if not complained:
                log.warning(
                    "queue-not-consumed", extra={"queue": queue_name, "reason": repr(error)}
                )
            complained = True
        await asyncio.sleep(_RETRY_S)


async def _until_lost(queue: AbstractQueue, handle: Handle) -> None:
    """Hand messages on until the channel or its connection is lost."""
    closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def lost(*_: Any) -> None:
        if not closed.done():
            closed.set_result(None)

    queue.channel.close_callbacks.add(lost)
    await queue.consume(handle)
    await closed
