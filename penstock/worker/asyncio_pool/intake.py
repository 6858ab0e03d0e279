"""How a delivery becomes a request: Celery's way, with answers that any thread may give."""

from collections.abc import Callable
from typing import Any

from celery.utils.imports import symbol_by_name
from celery.worker.strategy import default

from penstock.worker.asyncio_pool.outbox import Outbox
from penstock.worker.stopping import leave_threads


class Answer:
    """What a request says to the broker about its message, from any thread.

    Args:
        message: kombu's.
        outbox: of the consumer's thread.
    """

    __slots__ = ("_message", "_outbox")

    def __init__(self, message: Any, outbox: Outbox) -> None:
        self._message = message
        self._outbox = outbox

    def ack(self, logger: Any, errors: Any) -> None:  # noqa: ARG002  # Celery's
        """Acknowledge the message."""
        self._outbox.acknowledge(self._message)

    def reject(self, logger: Any, errors: Any, requeue: bool = False) -> None:  # noqa: FBT001, FBT002  # Celery's
        """Give the message back, or let it become a dead letter."""
        self._outbox.reject(self._message, logger, errors, requeue)


def strategy(task: Any, app: Any, consumer: Any) -> Callable[..., Any]:
    """Return what handles the deliveries of a task: Celery's `Task.Strategy`."""
    pool = consumer.pool
    if pool.attend(consumer):
        leave_threads(consumer.controller)
    before = pool.strategy_of(task)
    handle = (symbol_by_name(before) if before else default)(task, app, consumer)
    outbox = pool.outbox

    def handle_delivery(message: Any, body: Any, ack: Any, reject: Any, callbacks: Any) -> Any:  # noqa: ARG001  # Celery's
        tag = message.delivery_info.get("consumer_tag")
        message.counted = pool.windows.arrived(tag, len(message.body or b""))
        answer = Answer(message, outbox)
        return handle(message, body, answer.ack, answer.reject, callbacks)

    return handle_delivery
