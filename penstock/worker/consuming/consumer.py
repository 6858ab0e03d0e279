"""The consumer of the worker's main process: declares the layout, and consumes its own share."""

import os
from collections.abc import Callable
from typing import Any

from amqp.exceptions import AMQPError
from celery.utils.log import get_logger
from celery.worker.consumer import Consumer as CeleryConsumer
from kombu.exceptions import OperationalError

from penstock.worker.consuming.guarded import GuardedConsumer
from penstock.worker.consuming.unknown_tasks import UnknownTasks
from penstock.worker.layout import LayoutError
from penstock.worker.messages.own_queue import declare_own_queue, own_queue

_logger = get_logger(__name__)

DROPPED_STEPS = frozenset(
    # It binds every queue of a topic exchange with `#.<key>`, which also matches other queues'
    # keys; delays are ours (penstock/wire/delay.py). No setting turns it off.
    ("celery.worker.consumer.delayed_delivery:DelayedDelivery",)
)


class Consumer(GuardedConsumer):
    """The consumer of an application whose queues are of a layout: one step less than Celery's."""

    class Blueprint(CeleryConsumer.Blueprint):  # type: ignore[misc]  # Celery has no types
        """The steps of the consumer."""

        default_steps = tuple(
            step for step in CeleryConsumer.Blueprint.default_steps if step not in DROPPED_STEPS
        )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if (advice := self.app.layout.unrouted(self.app.tasks)) is not None:
            _logger.warning("%s", advice)
        self._unknown = UnknownTasks(self.app, self.hostname)

    def connect(self) -> Any:
        """Declare the whole layout, then connect to consume.

        A worker that starts before the gateway, or after somebody deleted a queue, must not reject
        a message into dead letters that nobody keeps.

        Raises:
            SystemExit: RabbitMQ is not as the layout says; the log names what, and what to do.
        """
        with self.connection_for_read() as connection:
            try:
                self.app.layout.declare(connection, self.app.amqp.queues.consume_from)
                declare_own_queue(connection, self.hostname)
            except LayoutError as error:
                _logger.critical("%s", error)
                raise SystemExit(os.EX_CONFIG) from error
        return super().connect()

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
        """Return what handles each delivery; the event loop asks for it before it consumes."""
        # Whatever -Q says. A step of its own would have to stand between Tasks and Control.
        self.task_consumer.add_queue(own_queue(self.hostname))
        handle = super().create_task_handler(*args, **kwargs)
        self._unknown.say_what_is_lacking(self.consumed_queues() or ())
        return handle

    def on_unknown_task(self, body: Any, message: Any, exc: Any) -> None:
        """Leave the message of a task that this worker lacks to a worker that has it."""
        try:
            if self._unknown.offer_again(message, str(message.headers.get("task"))):
                return
        except (OperationalError, AMQPError, OSError) as error:
            _logger.warning("not offered again: %r", error)
            message.reject_log_error(_logger, self.connection_errors, requeue=True)
            return
        super().on_unknown_task(body, message, exc)
