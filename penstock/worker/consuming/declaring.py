"""The layout on each connection of a worker: recognised, and declared behind that.

To declare what is there, RabbitMQ waits for every node of a cluster: for one that has vanished
without a word, until its net tick, which is a minute. What is there, a node knows by itself. So a
worker looks for the layout, consumes, and declares it behind that: somebody may have deleted a
binding. One that starts waits a moment for that, as its layout may not be that of RabbitMQ.
"""

import threading
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

from amqp.exceptions import AMQPError
from celery.utils.log import get_logger
from kombu.exceptions import OperationalError

from penstock.looper import ThreadLooper
from penstock.wire.refusals import first_declared_within_s
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
        self._recognised = self._declared = 0
        self._tried = threading.Event()
        self._refusal: LayoutError | None = None
        self._awaited = True
        """Whether the thread that starts the worker looks at the refusal."""
        self._looper = ThreadLooper(
            "layout", self._turn, interval_s=AGAIN_S, longest_wait_s=AGAIN_S, expected=(OSError,)
        )

    @property
    def unsure(self) -> bool:
        """Whether it was recognised, and has yet to be declared."""
        return self._declared != self._recognised

    def on(self, connection: Any, consumed: Collection[str]) -> Sequence[str]:
        """Make sure that RabbitMQ has the layout.

        Args:
            connection: kombu's, connected, whose answers are bound in time.
            consumed: queues that this process is about to consume.

        Returns:
            Queues that are there, on a node that is down or does not answer.

        Raises:
            LayoutError: RabbitMQ has something else, or refuses.
            TimeoutError: it does not answer.
        """
        began = time.monotonic()
        away = self._layout.recognise(connection, consumed)
        if away is None:
            away = self._layout.declare(connection, consumed)
            self._declared = self._recognised
            return away
        self._recognised += 1
        if not self._looper.alive:
            self._looper.start()
            self._tried.wait(first_declared_within_s(time.monotonic() - began))
            self._awaited = False
            if self._refusal is not None:
                raise self._refusal
        return away

    def _turn(self) -> None:
        recognised = self._recognised
        if self._declared == recognised:
            return
        try:
            self._declare()
        except LayoutError as error:
            self._refusal = error
            if not self._awaited:
                _logger.critical("%s", error)
        except (AMQPError, OperationalError, OSError) as error:
            raise ConnectionError(repr(error)) from error
        finally:
            self._tried.set()
        self._declared = recognised

    def _declare(self) -> None:
        with closing_answered(self._connect()) as connection:
            connection.ensure_connection(max_retries=1)
            bound(connection)
            self._layout.declare(connection)
