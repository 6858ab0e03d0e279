"""The consumer of the worker's main process: declares the layout, survives every message.

Celery acknowledges what it cannot decode, which loses it, and dies of what it decodes into
something that is no task. Here both are rejected into the dead letters of their queue.
"""

from collections.abc import Callable
from typing import Any

from celery import bootsteps
from celery.utils.log import get_logger
from celery.worker.consumer import Consumer as CeleryConsumer
from celery.worker.consumer.connection import Connection
from celery.worker.consumer.mingle import Mingle
from celery.worker.consumer.tasks import Tasks as CeleryTasks
from kombu.utils.encoding import safe_repr

from topology import kombu_queues

_logger = get_logger(__name__)

REPLACED_STEPS = {
    "celery.worker.consumer.tasks:Tasks": "tasks.consumer:Tasks",
}
DROPPED_STEPS = frozenset(
    # It binds every queue of a topic exchange with `#.<key>`, which also matches other queues'
    # keys; delays are ours (topology/delay.py). No setting turns it off.
    ("celery.worker.consumer.delayed_delivery:DelayedDelivery",)
)


class Declaration(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no types
    """Declares the whole layout, so that nothing is lost when a worker starts before a gateway."""

    requires = (Connection,)

    def start(self, c: Any) -> None:
        """Declare on the connection that is about to consume."""
        kombu_queues.declare(c.connection, c.app.topology, c.hostname)


class Tasks(CeleryTasks):  # type: ignore[misc]
    """Consumes the worker's broadcast queue, too, whatever -Q says."""

    requires = (Mingle, Declaration)

    def start(self, c: Any) -> None:
        """Prepare to consume; the loop begins to."""
        super().start(c)
        c.task_consumer.add_queue(kombu_queues.broadcast_queue(c.app.topology, c.hostname))


class Consumer(CeleryConsumer):  # type: ignore[misc]
    """Celery's consumer with other steps, and a guard around each message."""

    class Blueprint(CeleryConsumer.Blueprint):  # type: ignore[misc]
        """The steps of the consumer."""

        default_steps = (
            "tasks.consumer:Declaration",
            *(
                REPLACED_STEPS.get(step, step)
                for step in CeleryConsumer.Blueprint.default_steps
                if step not in DROPPED_STEPS
            ),
        )

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
        """Return what handles each delivery."""
        handle = super().create_task_handler(*args, **kwargs)
        tags = self.task_consumer._active_tags  # noqa: SLF001  # the only place that knows
        lost = (*self.connection_errors, *self.channel_errors)

        def handle_guarded(message: Any) -> None:
            message.queue_name = _queue_of(tags, message.delivery_info.get("consumer_tag"))
            try:
                handle(message)
            except lost:
                raise
            except Exception as error:  # noqa: BLE001  # whatever a stranger's message makes of us
                self.on_poison(message, error)

        return handle_guarded

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Reject what is no JSON; Celery would acknowledge it."""
        self.on_poison(message, exc)

    def on_poison(self, message: Any, error: Exception) -> None:
        """Reject a message that is no task into the dead letters of its queue."""
        _logger.error(
            "poison: queue=%s headers=%s error=%r",
            getattr(message, "queue_name", None),
            safe_repr(message.headers)[:1000],
            error,
        )
        if not message.acknowledged:
            message.reject_log_error(_logger, self.connection_errors)

    def connection_for_write(self, url: str | None = None, heartbeat: Any = None) -> Any:
        """Connect for events, which are told without waiting for confirms: they may be lost."""
        connection = self.app.connection_for_write(url=url, heartbeat=heartbeat)
        options = dict(connection.transport_options or {})
        options.pop("confirm_publish", None)
        connection.transport_options = options
        return self.ensure_connected(connection)


def _queue_of(tags: dict[str, str], consumer_tag: str | None) -> str | None:
    return next((queue for queue, tag in tags.items() if tag == consumer_tag), None)
