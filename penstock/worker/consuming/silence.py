"""Whether RabbitMQ still says anything on the connection that consumes.

RabbitMQ looks every half interval, and sends a heartbeat if nothing else was sent since the last
look (``rabbit_heartbeat``): almost a whole interval may pass without an octet. py-amqp waits for
two, and looks twice in each: with ten seconds up to 25 go by before a worker leaves a node that has
vanished.
"""

import time
from typing import Any

from celery.utils.log import get_logger

from penstock.worker.messages.connection import hang_up

SLACK_S = 2.0
"""Beyond the interval: for a busy machine or network."""
STOOD_STILL_S = 4.0
"""Between two looks: so long the loop did not read, and silence means nothing."""

_logger = get_logger(__name__)


class Silence:
    """Ends a connection on which nothing comes; the loop that reads it then connects anew."""

    def __init__(self) -> None:
        self._connection: Any = None
        self._received = 0
        self._since = self._looked_at = 0.0

    def watch(self, connection: Any) -> None:
        """Look at this connection from now on.

        Args:
            connection: kombu's, connected.
        """
        self._connection = connection
        self._since = self._looked_at = time.monotonic()

    def look(self) -> None:
        """Be called by the loop that reads, every second or two."""
        connection, now = self._connection, time.monotonic()
        still, self._looked_at = now - self._looked_at > STOOD_STILL_S, now
        if connection is None or not connection.connected:
            return
        underlay = connection.connection
        received = getattr(underlay, "bytes_recv", None)
        if still or received is None or received != self._received or not underlay.heartbeat:
            self._received, self._since = received or 0, now
        elif now - self._since > underlay.heartbeat + SLACK_S:
            _logger.warning("RabbitMQ has said nothing for %.0f s", now - self._since)
            self._connection = None
            hang_up(underlay)
