"""How a delivery becomes a request: Celery's way, with answers that any thread may give."""

from collections.abc import Callable
from functools import partial
from typing import Any

from celery.utils.imports import symbol_by_name
from celery.worker.strategy import default


class Answer:
    """What a request says to the broker about its message, from any thread.

    Args:
        message: kombu's.
        post: hands a call to the consumer's thread.
    """

    __slots__ = ("_message", "_post")

    def __init__(self, message: Any, post: Callable[[Callable[[], Any]], None]) -> None:
        self._message = message
        self._post = post

    def ack(self, logger: Any, errors: Any) -> None:
        """Acknowledge the message."""
        self._post(partial(self._message.ack_log_error, logger, errors))

    def reject(self, logger: Any, errors: Any, requeue: bool = False) -> None:  # noqa: FBT001, FBT002  # Celery's
        """Give the message back, or let it become a dead letter."""
        self._post(partial(self._message.reject_log_error, logger, errors, requeue))


def strategy(task: Any, app: Any, consumer: Any) -> Callable[..., Any]:
    """Return what handles the deliveries of a task: Celery's `Task.Strategy`."""
    pool = consumer.pool
    pool.attend(consumer)
    before = pool.strategy_of(task)
    handle = (symbol_by_name(before) if before else default)(task, app, consumer)
    post = pool.outbox.post

    def handle_delivery(message: Any, body: Any, ack: Any, reject: Any, callbacks: Any) -> Any:  # noqa: ARG001  # Celery's
        answer = Answer(message, post)
        return handle(message, body, answer.ack, answer.reject, callbacks)

    return handle_delivery
