"""Celery's steps that must not keep a worker from its tasks: each is for control or comfort.

In a cluster a node can be down, or silent: what is declared there answers with an error, or not
before its net tick. So nothing here waits for an answer, or its end is not the worker's.
"""

import time
from copy import copy
from functools import partial
from typing import Any

from amqp.exceptions import AMQPError
from celery.app.control import flatten_reply
from celery.utils.log import get_logger
from celery.worker import pidbox, state
from celery.worker.consumer.control import Control as CeleryControl
from celery.worker.consumer.gossip import Gossip as CeleryGossip
from celery.worker.consumer.mingle import Mingle as CeleryMingle
from celery.worker.consumer.tasks import Tasks as CeleryTasks
from kombu.exceptions import OperationalError
from kombu.messaging import Consumer

from penstock.worker.messages.connection import bound, closing_answered

MINGLE_WITHIN_S = 3.0
"""How long RabbitMQ may take to answer a question to the neighbours."""

_ACKS_AT_ONCE = 24
"""Tasks, over which acknowledgements may be held back when a worker ends."""
_APPLIED_WITHIN_S = 0.5

_logger = get_logger(__name__)


class Mingle(CeleryMingle):  # type: ignore[misc]  # Celery has no types
    """Asks the neighbours what was revoked; a worker whose question fails starts all the same.

    What was revoked is in Redis as well, where each start looks.
    """

    def start(self, c: Any) -> None:
        """Ask, on a connection that is of no use afterwards; not while a node is away."""
        if c.lacks_queues:
            return
        try:
            super().start(c)
        except (AMQPError, OperationalError, OSError) as error:
            _logger.warning("the neighbours were not asked: %r", error)

    def send_hello(self, c: Any) -> Any:
        """Return their answers."""
        control = copy(c.app.control)
        control.mailbox = copy(control.mailbox)
        # Or it would publish on a connection that the worker has had: that of a node which is
        # silent by now confirms nothing.
        control.mailbox.producer_pool = None
        said = {"from_node": c.hostname, "revoked": list(c.controller.state.revoked)}
        with closing_answered(c.app.connection_for_read()) as connection:
            connection.ensure_connection(max_retries=1)
            bound(connection, MINGLE_WITHIN_S)
            told = control.broadcast(
                "hello", arguments=said, reply=True, timeout=1.0, connection=connection
            )
        replies = flatten_reply(told or [])
        replies.pop(c.hostname, None)
        return replies


class Gossip(CeleryGossip):  # type: ignore[misc]
    """Hears the events of other workers."""

    requires = (Mingle,)

    def get_consumers(self, channel: Any) -> list[Any]:
        """Return the consumer, whose queue is not declared yet."""
        self.register_timer()
        receiver = self.Receiver(channel, routing_key="worker.#", queue_ttl=self.heartbeat_interval)
        prepare = partial(receiver.event_from_message, localize=False)
        return [
            Consumer(
                channel,
                queues=[receiver.queue],
                auto_declare=False,
                on_message=partial(self.on_message, prepare),
                accept=receiver.accept,
                no_ack=True,
            )
        ]

    def start(self, c: Any) -> None:
        """Consume."""
        self.consumers = self.get_consumers(c.connection.channel())
        for consumer in self.consumers:
            consume_unanswered(consumer)
        self.dispatcher = c.event_dispatcher


class Tasks(CeleryTasks):  # type: ignore[misc]
    """Celery's, after the steps here."""

    requires = (Mingle,)

    def shutdown(self, c: Any) -> None:
        """Close the channel when RabbitMQ has had time for what was acknowledged on it.

        Of a quorum queue it holds acknowledgements back while 32 commands are not applied, and
        forgets them when the channel is closed: the tasks would be delivered again.
        """
        if c.task_consumer and sum(state.total_count.values()) >= _ACKS_AT_ONCE:
            time.sleep(_APPLIED_WITHIN_S)
        super().shutdown(c)


class Pidbox(pidbox.Pidbox):  # type: ignore[misc]
    """The mailbox of remote control."""

    def start(self, c: Any) -> None:
        """Consume it."""
        node = self.node
        node.channel = c.connection.channel()
        self.consumer = Consumer(
            node.channel,
            [node.mailbox.get_queue(c.hostname)],
            auto_declare=False,
            no_ack=True,
            accept=node.mailbox.accept,
            callbacks=[self.on_message],
            on_decode_error=c.on_decode_error,
        )
        consume_unanswered(self.consumer)


class Control(CeleryControl):  # type: ignore[misc]
    """Remote control."""

    requires = (Tasks,)

    def __init__(self, c: Any, **kwargs: Any) -> None:
        super().__init__(c, **kwargs)
        if not self.is_green:
            self.box = Pidbox(c)
            self.start = self.box.start
            self.stop = self.box.stop
            self.shutdown = self.box.shutdown


STEPS = {
    "celery.worker.consumer.mingle:Mingle": f"{__name__}:Mingle",
    "celery.worker.consumer.gossip:Gossip": f"{__name__}:Gossip",
    "celery.worker.consumer.tasks:Tasks": f"{__name__}:Tasks",
    "celery.worker.consumer.control:Control": f"{__name__}:Control",
}
"""Celery's steps and ours in their place."""


def consume_unanswered(consumer: Any) -> None:
    """Declare the queues of a consumer and consume them, without waiting for an answer.

    Args:
        consumer: kombu's, whose queues belong to one connection alone: nothing can be in the way.
    """
    for queue in consumer.queues:
        queue.declare(nowait=True)
        consumer._basic_consume(queue, no_ack=True, nowait=True)  # noqa: SLF001  # kombu waits
