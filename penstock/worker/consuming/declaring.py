"""The layout on each connection of a worker: declared first, and recognised from then on.

To declare what is there, RabbitMQ waits for every node of a cluster: for one that has vanished
without a word, until its net tick, which is a minute. What is there, a node knows by itself. So a
worker that has lost its connection looks for the layout, consumes, and declares it again behind
that: somebody may have deleted a binding.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Any

from amqp.exceptions import AMQPError
from celery.utils.log import get_logger
from kombu.exceptions import OperationalError

from penstock.looper import ThreadLooper
from penstock.worker.layout import Layout, LayoutError
from penstock.worker.messages.connection import bound, closing_answered

AGAIN_S = 10.0
"""Between two attempts to declare what was only recognised."""

_logger = get_logger(__name__)


class Declaring:
    """Has the layout declared, or recognises it.

    Args:
        layout: of the application.
        connect: returns a connection of its own, which is closed here.
    """

    def __init__(self, layout: Layout, connect: Callable[[], Any]) -> None:
        self._layout = layout
        self._connect = connect
        self._tried = False
        self.unsure = False
        """Whether it was recognised, and has yet to be declared."""
        self._looper = ThreadLooper(
            "layout", self._turn, interval_s=AGAIN_S, longest_wait_s=AGAIN_S, expected=(OSError,)
        )

    def on(self, connection: Any, consumed: Collection[str]) -> Sequence[str]:
        """Make sure that RabbitMQ has the layout.

        Args:
            connection: kombu's, connected, whose answers are bound in time.
            consumed: queues that this process is about to consume.

        Returns:
            Queues that are there, on a node that is down or does not answer.

        Raises:
            LayoutError: RabbitMQ has something else, or refuses.
            TimeoutError: it does not answer; the next attempt looks for the layout first.
        """
        away = self._layout.recognise(connection, consumed) if self._tried else None
        if away is None:
            self._tried = True
            away = self._layout.declare(connection, consumed)
            self.unsure = False
            return away
        self.unsure = True
        if not self._looper.alive:
            self._looper.start()
        return away

    def _turn(self) -> None:
        if not self.unsure:
            return
        self.unsure = False
        try:
            self._declare()
        except (AMQPError, OperationalError, OSError) as error:
            self.unsure = True
            raise ConnectionError(repr(error)) from error

    def _declare(self) -> None:
        with closing_answered(self._connect()) as connection:
            connection.ensure_connection(max_retries=1)
            bound(connection)
            try:
                self._layout.declare(connection)
            except LayoutError as error:
                _logger.critical("%s", error)
