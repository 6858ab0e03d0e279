"""The consumer of the worker's main process: declares the layout, and consumes its own share."""

import os
from collections.abc import Callable, Collection
from typing import Any

from amqp.exceptions import AMQPError, InternalError, NotFound
from celery.utils.log import get_logger
from celery.worker.consumer import Consumer as CeleryConsumer
from kombu.exceptions import OperationalError

from penstock.wire.refusals import ONE_NODE_WITHIN_S, is_away
from penstock.worker.consuming.declaring import Declaring
from penstock.worker.consuming.guarded import GuardedConsumer
from penstock.worker.consuming.steps import STEPS
from penstock.worker.consuming.unavailable_queues import UnavailableQueues
from penstock.worker.consuming.unknown_tasks import UnknownTasks
from penstock.worker.layout import LayoutError, has_queue, silent
from penstock.worker.messages.connection import (
    answering,
    bound,
    closing_answered,
    drop,
    leave_host,
    try_another_host,
)
from penstock.worker.messages.own_queue import declare_own_queue, own_queue

_logger = get_logger(__name__)

_NO_ANSWER = "its node is down, or does not answer"

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
            STEPS.get(step, step)
            for step in CeleryConsumer.Blueprint.default_steps
            if step not in DROPPED_STEPS
        )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if (advice := self.app.layout.unrouted(self.app.tasks)) is not None:
            _logger.warning("%s", advice)
        self._unknown = UnknownTasks(self.app, self.hostname)
        self._declaring = Declaring(self.app.layout, self.app.connection_for_read)
        self._own_declared = False
        self._away = UnavailableQueues(
            self.app.connection_for_read,
            self._prepare,
            lambda name: self.call_soon(self._consume_again, name),
        )

    def connect(self) -> Any:
        """Recognise the layout, or declare all of it, then connect to consume.

        A worker that starts before the gateway, or after somebody deleted a queue, must not reject
        a message into dead letters that nobody keeps.

        Raises:
            SystemExit: RabbitMQ is not as the layout says; the log names what, and what to do.
        """
        consumed = self.app.amqp.queues.consume_from
        with closing_answered(self.connection_for_read()) as connection:
            bound(connection)
            try:
                for name in self._lacking(connection, consumed):
                    self._away.put(name, _NO_ANSWER)
                self._declare_own_queue(connection)
            except LayoutError as error:
                _logger.critical("%s", error)
                raise SystemExit(os.EX_CONFIG) from error
            if self.lacks_queues:
                drop(connection)  # a channel of it may still wait
        connection = super().connect()
        bound(connection)
        return connection

    def _lacking(self, connection: Any, consumed: Collection[str]) -> list[str]:
        """Return the queues that are to be consumed and cannot be, or would hold up the others."""
        away = self._declaring.on(connection, consumed)
        asked = [name for name in consumed if name not in away]
        slow = _silent(connection, asked) if self._declaring.unsure else []
        return [name for name in consumed if name in away or name in slow]

    @property
    def lacks_queues(self) -> bool:
        """Whether a node is away, with queues that are to be consumed."""
        return bool(self._away.names)

    def _declare_own_queue(self, connection: Any) -> None:
        """Declare the queue of this worker alone, or find it; unless its node is away."""
        own = own_queue(self.hostname).name
        if self.lacks_queues and self._own_declared:
            self._away.put(own, "other queues do not answer")  # it is asked behind
            return
        try:
            with answering(connection, ONE_NODE_WITHIN_S):
                self._prepare(connection, own)
        except (NotFound, TimeoutError) as error:
            if isinstance(error, NotFound) and not is_away(error.reply_text):
                raise
            self._away.put(own, error)

    def _prepare(self, connection: Any, name: str) -> None:
        """Have RabbitMQ make what is missing of a queue that is to be consumed."""
        if name == own_queue(self.hostname).name:
            if not (self._own_declared and has_queue(connection, name)):
                declare_own_queue(connection, self.hostname)
                self._own_declared = True
        elif name in self._declaring.on(connection, [name]):
            raise NotFound(_NO_ANSWER)

    def _consume_again(self, name: str) -> None:
        """Consume a queue that can be consumed again; on the consumer's thread."""
        self._away.take(name)
        consumer = self.task_consumer
        if not self._consumes or consumer is None or consumer.consuming_from(name):
            return  # the next connection begins with all of them
        own = own_queue(self.hostname)
        consumed = {own.name: own, **self.app.amqp.queues.consume_from}
        if name not in consumed:
            return  # `celery control cancel_consumer`
        consumer.add_queue(consumed[name])
        self._pauses.begin()  # it may have been paused since
        consumer.consume()
        self._announcer.changed()

    def _cancelled(self, name: str, why: str = "RabbitMQ has cancelled its consumer") -> None:
        """Go on without a queue that is not consumed any more."""
        self._away.put(name, why)
        self._announcer.changed()

    def _refused(self, name: str, error: Exception) -> None:
        """Leave out a queue that ends the connection when it is consumed."""
        if isinstance(error, InternalError | NotFound | TimeoutError):
            self._away.put(name, error)

    def on_connection_error_before_connected(self, exc: BaseException) -> None:
        """Take another host next time."""
        try_another_host(self.app)
        super().on_connection_error_before_connected(exc)

    def on_connection_error_after_connected(self, exc: BaseException) -> None:
        """Take another host next time."""
        leave_host(self.app, self.connection)
        super().on_connection_error_after_connected(exc)

    def connection_for_write(self, url: str | None = None, heartbeat: Any = None) -> Any:
        """Connect for events: a node that takes no more of them must not hold up the tasks."""
        connection = super().connection_for_write(url=url, heartbeat=heartbeat)
        bound(connection)
        return connection

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
        """Return what handles each delivery; the event loop asks for it before it consumes."""
        consumer = self.task_consumer
        # Whatever -Q says. A step of its own would have to stand between Tasks and Control.
        consumer.add_queue(own_queue(self.hostname))
        consumer.on_cancelled, consumer.on_refused = self._cancelled, self._refused
        for name in self._away.names:
            consumer.cancel_by_queue(name)
        handle = super().create_task_handler(*args, **kwargs)
        self._leave_silent(consumer)
        self._unknown.say_what_is_lacking(self.consumed_queues() or ())
        return handle

    def _leave_silent(self, consumer: Any) -> None:
        """Leave out what has fallen silent since the layout was recognised.

        To consume such a queue holds up the channel for a minute, with all that RabbitMQ goes on to
        send to the other consumers on it, even when this process has left the connection.
        """
        with closing_answered(self.connection_for_read()) as connection:
            bound(connection)
            names = [queue.name for queue in consumer.queues]
            slow = _silent(connection, names)
            if slow:
                drop(connection)  # a channel of it may still wait
        for name in slow:
            consumer.cancel_by_queue(name)
            self._cancelled(name, _NO_ANSWER)

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


def _silent(connection: Any, asked: Collection[str]) -> list[str]:
    """Return the queues that do not answer; none if no queue does, as RabbitMQ itself is slow."""
    slow = silent(connection, asked)
    return [] if len(slow) == len(asked) else slow
