"""What the management API knows of queues, looked at now and then for /metrics."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from gateway.errors import Problem
from gateway.rabbitmq.management import Management, QueueFigures
from penstock.looper import Looper

LOOK_S: Final = 10.0
"""RabbitMQ itself renews these figures every 5 s."""


class QueueLook:
    """The latest figures of each queue.

    Args:
        management: The API; None: none is configured.
    """

    def __init__(self, management: Management | None) -> None:
        self._management = management
        self.latest: Mapping[str, QueueFigures] = MappingProxyType({})
        """By queue; empty while the API does not answer."""
        self.looper = Looper("queue-look", self._look, interval_s=LOOK_S)
        """Looks."""

    def __repr__(self) -> str:
        """Count the queues."""
        return f"<QueueLook {len(self.latest)} queues>"

    async def _look(self) -> None:
        """Ask once; an API that is away makes no gateway worse, its figures are absent."""
        if self._management is not None:
            try:
                self.latest = await self._management.queues()
            except Problem:
                self.latest = MappingProxyType({})
