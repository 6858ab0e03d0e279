"""Confirmed publishing."""

import asyncio

from gateway.task_message import Template


class Publisher:
    """Publishes task messages; every publish ends in exactly one outcome."""

    def publish(
        self, template: Template, task_id: str, body: bytes, *, queue_count: int = 1
    ) -> "asyncio.Future[None]":
        """Publish one message; the future resolves when RabbitMQ confirmed it.

        Args:
            template: The constant part.
            task_id: Also the message id: unique among the messages in flight.
            body: The message body.
            queue_count: How many queues match; a nack means "not queued" only when one does.

        Raises:
            Problem: At once: `broker-unavailable`, `broker-blocked`, `overloaded`, `draining`
                (queued: no). From the future: `unroutable`, `queue-full` (no), `unconfirmed`
                (unknown).
        """
        raise NotImplementedError

    async def room(self) -> None:
        """Wait until less than half of the window is in flight: back-pressure for streams.

        Raises:
            Problem: `broker-unavailable` (queued: no) when the connection is lost meanwhile.
        """
        raise NotImplementedError
