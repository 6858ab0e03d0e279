"""Queues that this worker is to consume and cannot, for their node is away: it comes back to them.

    consumed ──RabbitMQ cancels, or its node is down──► away ──tried every few seconds──► consumed

Celery would take the first for a lost connection, which stops what runs from every queue, and end
the worker at the second.
"""

import threading
from collections.abc import Callable
from typing import Any

from amqp.exceptions import AMQPError
from celery.utils.log import get_logger
from kombu.exceptions import OperationalError

from penstock.looper import ThreadLooper
from penstock.wire.refusals import ONE_NODE_WITHIN_S
from penstock.worker.layout import LayoutError
from penstock.worker.messages.connection import bound, closing_answered

TRY_AGAIN_S = 3.0
"""Between two attempts to consume queues that are away."""

_logger = get_logger(__name__)


class UnavailableQueues:
    """Remembers them, and tries them on connections of their own.

    Args:
        connect: returns a connection of its own, which is closed here.
        prepare: makes a queue ready to be consumed: declares it if it must.
        back: is called, from another thread, with a queue that can be consumed again.
    """

    def __init__(
        self,
        connect: Callable[[], Any],
        prepare: Callable[[Any, str], None],
        back: Callable[[str], None],
    ) -> None:
        self._connect = connect
        self._prepare = prepare
        self._back = back
        self._names: dict[str, str] = {}
        self._lock = threading.Lock()
        self._looper = ThreadLooper("away-queues", self._turn, interval_s=TRY_AGAIN_S)

    def __contains__(self, name: str) -> bool:
        return name in self._names

    @property
    def names(self) -> tuple[str, ...]:
        """The queues that are away."""
        return tuple(self._names)

    def put(self, name: str, why: object) -> None:
        """Note that a queue cannot be consumed."""
        with self._lock:
            if self._names.get(name) != str(why):
                _logger.warning("queue %r is away and tried again: %s", name, why)
            self._names[name] = str(why)
        if not self._looper.alive:
            self._looper.start()

    def take(self, name: str) -> None:
        """Note that it is consumed again."""
        with self._lock:
            if self._names.pop(name, None) is not None:
                _logger.info("queue %r is consumed again", name)

    def _turn(self) -> None:
        for name in self.names:
            try:
                self._try(name)
            except (AMQPError, LayoutError, OperationalError, OSError) as error:
                self.put(name, error)
            else:
                self._back(name)

    def _try(self, name: str) -> None:
        """Consume a queue for a moment.

        Nothing else tells whether one without a leader can be consumed, and RabbitMQ ends the
        connection with 541 where it cannot. A message that comes meanwhile is given back.
        """
        with closing_answered(self._connect()) as connection:
            connection.ensure_connection(max_retries=1)
            bound(connection, ONE_NODE_WITHIN_S)
            self._prepare(connection, name)
            channel = connection.channel()
            channel.basic_qos(0, 1, a_global=False)
            channel.basic_cancel(channel.basic_consume(name, callback=lambda _: None))
