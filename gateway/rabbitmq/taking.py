"""Messages taken from a work queue one by one, and removed only when that is said."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from aiormq.abc import AbstractChannel, DeliveredMessage

from gateway.rabbitmq.connection import Connection
from gateway.rabbitmq.consumer import Delivery
from gateway.rabbitmq.faults import BrokerAwayError, MissingEntityError, broker_calls

_TIMEOUT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Taken:
    """One message; RabbitMQ keeps it until it is removed, and has it back when the channel ends."""

    message: Delivery
    _delivered: DeliveredMessage

    async def remove(self) -> None:
        """Remove it from the queue.

        Raises:
            BrokerAwayError: It comes again.
        """
        async with broker_calls(_TIMEOUT_S):
            await self._delivered.channel.basic_ack(self._delivered.delivery_tag or 0)

    async def put_back(self) -> None:
        """Give it back to the queue, in front.

        Raises:
            BrokerAwayError: It comes again.
        """
        async with broker_calls(_TIMEOUT_S):
            await self._delivered.channel.basic_nack(
                self._delivered.delivery_tag or 0, requeue=True
            )


@dataclass(frozen=True, slots=True)
class Source:
    """A queue to take from, as long as its channel is open."""

    _channel: AbstractChannel
    _queue: str

    async def count(self) -> int:
        """Return how many messages are ready.

        Raises:
            BrokerAwayError: RabbitMQ does not answer.
        """
        async with broker_calls(_TIMEOUT_S):
            found = await self._channel.queue_declare(self._queue, passive=True)
        return found.message_count or 0

    async def take(self) -> Taken | None:
        """Take the next message; None when none is ready.

        Raises:
            BrokerAwayError: RabbitMQ does not answer.
        """
        async with broker_calls(_TIMEOUT_S):
            found = await self._channel.basic_get(self._queue)
        if found.delivery_tag is None:
            return None
        properties = found.header.properties
        message = Delivery(
            message_id=properties.message_id, headers=properties.headers or {}, body=found.body
        )
        return Taken(message, found)


class Taking:
    """Opens queues to take from.

    Args:
        connection: Lends channels.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __repr__(self) -> str:
        """Name the connection."""
        return f"<Taking {self._connection!r}>"

    @property
    def rabbitmq_major(self) -> int | None:
        """The major version of RabbitMQ; None: not known yet."""
        return self._connection.rabbitmq_major

    @asynccontextmanager
    async def open(self, queue: str) -> AsyncIterator[Source]:
        """Lend a queue; what was taken and not removed goes back at the end.

        Args:
            queue: Its name.

        Raises:
            BrokerAwayError: As a problem: `broker-unavailable`.
        """
        try:
            async with self._connection.channel() as channel:
                yield Source(channel, queue)
        except MissingEntityError as error:
            raise BrokerAwayError(f"not declared: {error}") from error
