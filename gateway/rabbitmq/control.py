"""Celery's remote control: commands to workers by kombu's pidbox messages, and their replies.

The bytes are those of `kombu.pidbox.Mailbox._publish`: a fanout exchange `celery.pidbox`, to which
every worker binds a queue, and a direct exchange `reply.celery.pidbox` for the replies.
"""

import asyncio
import contextlib
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import orjson
from aiormq.abc import DeliveredMessage

from gateway.errors import Problem
from gateway.rabbitmq.connection import Connection
from gateway.rabbitmq.faults import MissingEntityError, broker_calls
from gateway.rabbitmq.message import Message
from gateway.rabbitmq.publisher import Publisher

REPLY_TIMEOUT_S: Final = 2.0
"""How long workers may take to answer."""
_CALL_TIMEOUT_S: Final = 3.0
_PIDBOX: Final = "pidbox"


class Control:
    """Commands workers.

    Args:
        connection: Looks for the exchanges, and reads replies.
        publisher: Publishes the commands.
        names: Celery's setting `control_exchange` of each app whose workers are commanded.
    """

    def __init__(
        self, connection: Connection, publisher: Publisher, names: Sequence[str] = ("celery",)
    ) -> None:
        self._connection = connection
        self._publisher = publisher
        self._exchanges = [f"{name}.{_PIDBOX}" for name in names]
        self._replies = {exchange: f"reply.{exchange}" for exchange in self._exchanges}

    async def broadcast(
        self, command: str, arguments: Mapping[str, Any], destination: Sequence[str] | None = None
    ) -> None:
        """Command workers to do something; no worker answers.

        Args:
            command: A control command of the workers.
            arguments: Its arguments.
            destination: Names of workers; None: all.

        Raises:
            Problem: `broker-unavailable`.
        """
        body = _body(command, arguments, destination)
        for exchange in self._exchanges:
            await self._publish(exchange, body)

    async def ask(
        self,
        command: str,
        arguments: Mapping[str, Any],
        destination: Sequence[str] | None = None,
        *,
        enough: Callable[[Any], bool] = lambda _: False,
    ) -> list[tuple[str, Any]]:
        """Command workers to do something, and return who answered what.

        Args:
            command: A control command of the workers.
            arguments: Its arguments.
            destination: Names of workers; None: all.
            enough: Whether an answer makes further ones needless; else the wait ends with the last
                answer of `destination`, or after `REPLY_TIMEOUT_S`.

        Raises:
            Problem: `broker-unavailable`.
        """
        ticket = str(uuid.uuid4())
        inbox: asyncio.Queue[DeliveredMessage] = asyncio.Queue()
        answers: list[tuple[str, Any]] = []
        async with self._connection.channel() as channel:
            async with broker_calls(_CALL_TIMEOUT_S):
                inbox_queue = f"{ticket}.{self._replies[self._exchanges[0]]}"
                await channel.queue_declare(inbox_queue, exclusive=True, auto_delete=True)
                for replies in self._replies.values():
                    await channel.exchange_declare(replies, exchange_type="direct")
                    await channel.queue_bind(inbox_queue, replies, ticket)
                await channel.basic_consume(inbox_queue, inbox.put, no_ack=True)
            for exchange, replies in self._replies.items():
                reply_to = {"exchange": replies, "routing_key": ticket}
                body = _body(command, arguments, destination, ticket=ticket, reply_to=reply_to)
                await self._publish(exchange, body)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REPLY_TIMEOUT_S):
                    while destination is None or len(answers) < len(destination):
                        found = _replies((await inbox.get()).body)
                        answers += found
                        if any(enough(answer) for _, answer in found):
                            break
        return answers  # the queue goes with its consumer, and that with the channel

    async def _publish(self, exchange: str, body: bytes) -> None:
        """Publish a command, unless no worker has ever been there to hear it.

        Raises:
            Problem: `broker-unavailable`.
        """
        try:
            async with self._connection.channel() as channel, broker_calls(_CALL_TIMEOUT_S):
                # Publishing to one that is not there would end the publisher's channel.
                await channel.exchange_declare(exchange, passive=True)
        except MissingEntityError:
            return
        message = Message(
            exchange=exchange,
            routing_key="",
            headers={"clock": 1, "expires": 0},
            mandatory=False,
            persistent=False,
        )
        name = str(uuid.uuid4())
        try:
            async with asyncio.timeout(REPLY_TIMEOUT_S):
                await self._publisher.publish(message, name, body)
        except (Problem, TimeoutError) as error:
            raise Problem("broker-unavailable", f"the command was not sent: {error}") from error


def _body(
    command: str,
    arguments: Mapping[str, Any],
    destination: Sequence[str] | None,
    **reply: Any,
) -> bytes:
    return orjson.dumps(
        {
            "method": command,
            "arguments": arguments,
            "destination": list(destination) if destination is not None else None,
            "pattern": None,
            "matcher": None,
            **reply,
        }
    )


def _replies(body: bytes) -> list[tuple[str, Any]]:
    """Return `{worker: answer}` of one reply as pairs; nothing when it is something else."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return []
    return list(found.items()) if isinstance(found, dict) else []
