"""Celery's remote control: commands to workers by kombu's pidbox messages, and their replies.

The bytes are those of `kombu.pidbox.Mailbox._publish`: a fanout exchange `celery.pidbox`, to which
every worker binds a queue, and a direct exchange `reply.celery.pidbox` for the replies.
"""

import asyncio
import contextlib
import logging
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any

import aio_pika
import orjson
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage
from aiormq.exceptions import AMQPError

from gateway.errors import Problem
from gateway.rabbitmq.connection import amqp_url

log = logging.getLogger(__name__)

REPLY_TIMEOUT_S = 2.0
"""How long workers may take to answer."""
_COMMANDS = "celery.pidbox"
_REPLIES = "reply.celery.pidbox"
_CONNECT_TIMEOUT_S = 3.0
_FAULTS = (AMQPError, OSError, RuntimeError, TimeoutError)


class Control:
    """Sends commands to workers, on a connection that is made when first needed.

    Args:
        url: RabbitMQ.
    """

    def __init__(self, url: str) -> None:
        self._url = amqp_url(url, "penstock-control")
        self._connection: AbstractConnection | None = None
        self._lock = asyncio.Lock()

    async def broadcast(
        self, command: str, arguments: dict[str, Any], *, destination: Sequence[str] | None = None
    ) -> None:
        """Tell workers to do something; nobody answers.

        Args:
            command: A control command of the workers.
            arguments: Its arguments.
            destination: Names of workers; None: all.

        Raises:
            Problem: `broker-unavailable`.
        """
        async with self._channel() as channel:
            await _publish(channel, command, arguments, destination, {})

    async def ask(
        self, command: str, arguments: dict[str, Any], *, destination: Sequence[str] | None = None
    ) -> AsyncGenerator[tuple[str, Any], None]:
        """Tell workers to do something, and yield what each answers, until time is out.

        Args:
            command: A control command of the workers.
            arguments: Its arguments.
            destination: Names of workers; None: all.

        Raises:
            Problem: `broker-unavailable`.
        """
        ticket = str(uuid.uuid4())
        inbox: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
        async with self._channel() as channel:
            exchange = await channel.declare_exchange(_REPLIES, "direct", durable=False)
            queue = await channel.declare_queue(exclusive=True, auto_delete=True)
            await queue.bind(exchange, ticket)
            await queue.consume(inbox.put, no_ack=True)
            reply_to = {"exchange": _REPLIES, "routing_key": ticket}
            extra = {"ticket": ticket, "reply_to": reply_to}
            await _publish(channel, command, arguments, destination, extra)
            deadline = asyncio.get_running_loop().time() + REPLY_TIMEOUT_S
            while True:
                try:
                    async with asyncio.timeout_at(deadline):
                        message = await inbox.get()
                except TimeoutError:
                    return
                for worker, answer in _replies(message.body):
                    yield worker, answer

    async def close(self) -> None:
        """Disconnect."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(*_FAULTS):
                await connection.close()

    @contextlib.asynccontextmanager
    async def _channel(self) -> AsyncIterator[AbstractChannel]:
        try:
            async with self._lock, asyncio.timeout(_CONNECT_TIMEOUT_S):
                if self._connection is None or self._connection.is_closed:
                    self._connection = await aio_pika.connect(self._url)
                channel = await self._connection.channel()
        except _FAULTS as error:
            await self.close()
            raise Problem("broker-unavailable", "no connection to RabbitMQ") from error
        try:
            yield channel
        except _FAULTS as error:
            await self.close()
            raise Problem("broker-unavailable", "the connection was lost") from error
        finally:
            with contextlib.suppress(*_FAULTS):
                await channel.close()


async def _publish(
    channel: AbstractChannel,
    command: str,
    arguments: dict[str, Any],
    destination: Sequence[str] | None,
    extra: dict[str, Any],
) -> None:
    exchange = await channel.declare_exchange(_COMMANDS, "fanout", durable=False)
    body = {
        "method": command,
        "arguments": arguments,
        "destination": list(destination) if destination is not None else None,
        "pattern": None,
        "matcher": None,
        **extra,
    }
    message = aio_pika.Message(
        orjson.dumps(body),
        content_type="application/json",
        content_encoding="utf-8",
        headers={"clock": 1, "expires": 0},
        delivery_mode=aio_pika.DeliveryMode.NOT_PERSISTENT,
    )
    await exchange.publish(message, "", mandatory=False, timeout=REPLY_TIMEOUT_S)


def _replies(body: bytes) -> list[tuple[str, Any]]:
    """`{worker: answer}` of one reply; nothing when it is something else."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return []
    return list(found.items()) if isinstance(found, dict) else []
