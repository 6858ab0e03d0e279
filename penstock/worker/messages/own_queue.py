"""The queue through which one worker receives broadcasts, and its own share of them again."""

from typing import Any

from amqp.exceptions import PreconditionFailed, ResourceLocked
from kombu.entity import Queue

from penstock.wire.delay import ANY_DELAY, DELIVERY_EXCHANGE
from penstock.wire.names import BROADCAST_EXCHANGE, BROADCAST_QUEUE_PREFIX
from penstock.worker.layout import LayoutError, undeclared

EXPIRES_MS = 3_600_000
"""How long the queue of a worker that is gone is kept."""

_OWN_PREFIX = "own-"


def own_queue(hostname: str) -> Queue:
    """Return the queue of a worker.

    Classic because it is one worker's own, durable because RabbitMQ 4 refuses transient queues, and
    expiring because hostnames come and go.

    Args:
        hostname: the worker's node name, `celery@w1`.
    """
    arguments = {"x-queue-type": "classic", "x-expires": EXPIRES_MS}
    return undeclared(BROADCAST_QUEUE_PREFIX + hostname, arguments)


def own_words(queue: str) -> str:
    """Write the queue of a worker as the destination of a delay.

    Its bare name begins with that of the exchange, whose delayed messages go to every worker: the
    retry of one worker's share would be executed by all.
    """
    return _OWN_PREFIX + queue


def declare_own_queue(connection: Any, hostname: str) -> None:
    """Declare the queue of a worker, and bind it for broadcasts, at once and delayed.

    Args:
        connection: kombu's; the exchanges are there.
        hostname: the worker's node name.

    Raises:
        LayoutError: there is another queue of this name.
        TimeoutError: its node does not answer; the connection is of no more use.
    """
    channel = connection.channel()
    try:
        queue = own_queue(hostname)(channel)
        queue.queue_declare()
        queue.bind_to(BROADCAST_EXCHANGE)
        for words in (f"{BROADCAST_EXCHANGE}.#", own_words(queue.name)):
            queue.bind_to(DELIVERY_EXCHANGE, f"{ANY_DELAY}.{words}")
    except (PreconditionFailed, ResourceLocked) as error:
        raise LayoutError(
            f"queue {queue.name!r} is not the one that a worker declares: {error.reply_text}. "
            "Delete it; the worker declares it again."
        ) from error
    channel.close()
