"""Messages of one queue on their way to another; and what is empty, deleted."""

from aio_pika.abc import AbstractConnection
from aiormq.abc import AbstractChannel
from aiormq.exceptions import DeliveryError, PublishError

from penstock.wire.headers import BROKER_PREFIXES
from topology.declare import underlay_of
from topology.errors import DeclarationError
from topology.model import Topology

TIMEOUT_S = 15.0
"""How long RabbitMQ may take for one message."""


async def counted(connection: AbstractConnection, queue: str) -> tuple[int, int]:
    """Return how many messages of a queue are ready, and how many consumers it has.

    Raises:
        DeclarationError: there is none of that name.
        ConnectionError: the connection was lost.
    """
    async with underlay_of(connection) as underlay:
        channel = await underlay.channel(publisher_confirms=False)
        found = await channel.queue_declare(queue, passive=True, timeout=TIMEOUT_S)
        await channel.close()
    return found.message_count or 0, found.consumer_count or 0


async def move(connection: AbstractConnection, source: str, topology: Topology, queue: str) -> int:
    """Publish what is ready in one queue to another, each removed once that is confirmed.

    A message whose confirm is lost stays, and may be in both.

    Args:
        connection: an open aio-pika connection.
        source: where the messages are.
        topology: the layout.
        queue: the work queue that they go to.

    Returns:
        How many were moved.

    Raises:
        DeclarationError: RabbitMQ refuses a message; it stays, with those behind it.
        ConnectionError: the connection was lost; what was moved is.
    """
    moved = 0
    async with underlay_of(connection) as underlay:
        channel = await underlay.channel()
        try:
            ready = (await channel.queue_declare(source, passive=True)).message_count or 0
            while moved < ready and await _move_one(channel, source, topology, queue):
                moved += 1
        except (DeliveryError, PublishError) as error:
            raise DeclarationError(
                f"queue {queue!r} takes no more: {ready - moved} messages stay in {source!r}"
            ) from error
        finally:
            await channel.close()
    return moved


async def _move_one(channel: AbstractChannel, source: str, topology: Topology, queue: str) -> bool:
    """Move the next message; False: there is none."""
    message = await channel.basic_get(source, timeout=TIMEOUT_S)
    if message.delivery_tag is None:
        return False
    properties = message.header.properties
    properties.headers = {
        name: value
        for name, value in (properties.headers or {}).items()
        if not name.startswith(BROKER_PREFIXES)
    }
    exchange, routing_key = topology.entry(queue, message.routing_key)
    await channel.basic_publish(
        message.body,
        exchange=exchange,
        routing_key=routing_key,
        properties=properties,
        mandatory=True,
        timeout=TIMEOUT_S,
    )
    await channel.basic_ack(message.delivery_tag)
    return True


async def delete_queue(connection: AbstractConnection, queue: str) -> None:
    """Delete a queue, with whatever is in it.

    Raises:
        ConnectionError: the connection was lost.
    """
    async with underlay_of(connection) as underlay:
        channel = await underlay.channel(publisher_confirms=False)
        await channel.queue_delete(queue, timeout=TIMEOUT_S)
        await channel.close()


async def delete_exchange(connection: AbstractConnection, exchange: str) -> None:
    """Delete an exchange.

    Raises:
        ConnectionError: the connection was lost.
    """
    async with underlay_of(connection) as underlay:
        channel = await underlay.channel(publisher_confirms=False)
        await channel.exchange_delete(exchange, timeout=TIMEOUT_S)
        await channel.close()
