"""What speaks to RabbitMQ: publishing, control, the depths of queues, dead letters, management."""

import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from gateway.config import GatewayConfig
from gateway.rabbitmq.connection import Connection
from gateway.rabbitmq.control import Control
from gateway.rabbitmq.dead_letters import DeadLetters
from gateway.rabbitmq.management import Management
from gateway.rabbitmq.publisher import Publisher
from gateway.rabbitmq.queue_depths import QueueDepths
from penstock.looper import Looper
from topology.model import Topology

SILENT_AFTER_S = 10.0
"""How long RabbitMQ may take to answer on an idle channel before the connection is given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """RabbitMQ, as this process uses it."""

    publisher: Publisher
    connection: Connection
    """Of all that does not publish."""
    control: Control
    depths: QueueDepths
    dead_letters: DeadLetters
    management: Management | None
    """None where the management API is not configured."""
    origin: str
    """Who publishes, for the header `origin`: `penstock@host`."""

    @classmethod
    def make(
        cls, config: GatewayConfig, topology: Topology, observe: Callable[[str, float], None]
    ) -> "Broker":
        """Make it; it connects when it runs.

        Args:
            config: Addresses and bounds.
            topology: What the publisher declares.
            observe: Given the outcome and latency (seconds) of each message.
        """
        url = config.management_url
        publisher = Publisher(config, topology, observe)
        connection = Connection(
            config.amqp_url,
            "consuming",
            silent_after_s=SILENT_AFTER_S,
            after=publisher.layout.tried,
        )
        return cls(
            publisher=publisher,
            connection=connection,
            control=Control(connection, publisher, config.control_exchanges),
            depths=QueueDepths(connection, topology),
            dead_letters=DeadLetters(connection, publisher, topology),
            management=Management(url, config.amqp_url) if url else None,
            origin=f"penstock@{socket.gethostname()}",
        )

    @property
    def own_loopers(self) -> tuple[Looper, ...]:
        """Those that the publisher runs itself: they end after the last confirm."""
        return self.publisher.loopers

    @property
    def loopers(self) -> tuple[Looper, ...]:
        """Keep the connection of all that does not publish; look at the depths of the queues."""
        return self.connection.looper, self.depths.looper

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Publish until the end; then wait for the confirms still out, and disconnect."""
        async with contextlib.AsyncExitStack() as ends:
            if self.management is not None:
                ends.push_async_callback(self.management.close)
            await self.publisher.start()
            ends.push_async_callback(self.publisher.close)
            yield
