"""Heartbeats of Celery workers: every worker sends them, whatever it is made of.

The exchange is Celery's (`celery.events.event.event_exchange`); the queue is this connection's own,
and bounded: a heartbeat that is missed is followed by another.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

import orjson
from aiormq.abc import DeliveredMessage

from gateway.rabbitmq.connection import Connection
from gateway.rabbitmq.consumer import end_of
from gateway.rabbitmq.faults import BrokerAwayError, MissingEntityError, broker_calls
from penstock.looper import Looper

_EXCHANGE: Final = "celeryev"
_SETUP_TIMEOUT_S: Final = 5.0
_BOUNDS: Final = {"x-max-length": 1000, "x-message-ttl": 30_000}
_REFUSALS: Final = ("ACCESS_REFUSED", "PRECONDITION_FAILED")
AGAIN_S: Final = 30.0
"""Between two attempts where RabbitMQ does not let this account listen."""

Hear = Callable[[dict[str, Any], float], None]
"""Takes an event of a worker, and when it came, unix seconds."""


class Heartbeats:
    """Listens to the events of workers about themselves.

    Args:
        connection: Lends it a channel.
        hear: Called with each event.
    """

    def __init__(self, connection: Connection, hear: Hear) -> None:
        self._connection = connection
        self._hear = hear
        self._passive = False
        self.refused = ""
        """Why RabbitMQ does not let this account listen: workers that announce nothing are then
        not seen, and nothing else changes."""
        self.looper = Looper(
            "heartbeats",
            self._listen,
            interval_s=0.0,
            deadline_s=3 * _SETUP_TIMEOUT_S,
            expected=(BrokerAwayError,),
        )
        """Keeps listening."""

    def __repr__(self) -> str:
        """Say whether it may listen."""
        return f"<Heartbeats {self.refused or 'listening'}>"

    async def _listen(self) -> None:
        """Listen until the channel is lost.

        Raises:
            BrokerAwayError: That happened, or there is no connection.
        """
        async with self._connection.channel() as channel:
            ended = end_of(channel)
            try:
                async with broker_calls(_SETUP_TIMEOUT_S):
                    await channel.exchange_declare(
                        _EXCHANGE, exchange_type="topic", durable=True, passive=self._passive
                    )
                    queue = await channel.queue_declare(exclusive=True, arguments=dict(_BOUNDS))
                    await channel.queue_bind(queue.queue or "", _EXCHANGE, "worker.#")
                    await channel.basic_consume(queue.queue or "", self._take, no_ack=True)
            except BrokerAwayError as error:
                if not any(word in error.reason for word in _REFUSALS):
                    raise
                if not self._passive:  # some other Celery may have declared it, in its own way
                    self._passive = True
                    return
                await self._wait(error.reason)
                return
            except MissingEntityError as error:  # no worker has declared it, and this may not
                self._passive = False
                await self._wait(str(error))
                return
            self.refused = ""
            self.looper.well()
            raise BrokerAwayError(f"no heartbeats any more: {await ended}")

    async def _wait(self, why: str) -> None:
        """Wait before another attempt: nothing is wrong but the account's permissions."""
        self.refused = why
        self.looper.well()
        await asyncio.sleep(AGAIN_S)

    async def _take(self, message: DeliveredMessage) -> None:
        try:
            event = orjson.loads(message.body)
        except orjson.JSONDecodeError:
            return
        if isinstance(event, dict) and isinstance(event.get("hostname"), str):
            self._hear(event, time.time())
