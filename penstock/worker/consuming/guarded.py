"""A consumer that survives every message, and announces its worker.

Celery acknowledges what it cannot decode, which loses it, and dies of what it decodes into
something that is no task. Here both are rejected: into the dead letters of their queue, if it has
such.
"""

from collections.abc import Callable, Mapping
from typing import Any

from celery.signals import worker_shutdown
from celery.utils.log import get_logger
from celery.worker.consumer import Consumer as CeleryConsumer
from kombu.exceptions import OperationalError
from kombu.utils.encoding import safe_repr

from penstock.wire.headers import JSON_HEADER
from penstock.wire.names import BROADCAST_QUEUE_PREFIX
from penstock.worker import tally
from penstock.worker.consuming import flow
from penstock.worker.consuming.announce import announcer_of, pool_name
from penstock.worker.consuming.event_retries import TRIES, send_events_once
from penstock.worker.consuming.pauses import Pauses
from penstock.worker.consuming.pulse import Pulse
from penstock.worker.consuming.request import request_class
from penstock.worker.consuming.silence import Silence
from penstock.worker.consuming.slots import Slots
from penstock.worker.deaths import prefork
from penstock.worker.messages.connection import drop, try_another_host
from penstock.worker.messages.json_values import decode
from penstock.worker.redis_client import sync_client
from penstock.worker.request_id import REQUEST_ID, request_id_of
from penstock.worker.running.task import PenstockTask

Salvage = Callable[[Any, object], Any]
"""Takes a body and what its publisher said of it; returns the decoded body, or raises as `decode`
does."""

_logger = get_logger(__name__)

RECONNECT_FIRST_S = 0.5
RECONNECT_LONGEST_S = 3.0


class GuardedConsumer(CeleryConsumer):  # type: ignore[misc]  # Celery has no types
    """Celery's consumer with a guard around each message."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # What kombu makes of a connection lost while a step asks its neighbours (mingle): Celery
        # takes it for a bug and ends the worker.
        lost: tuple[type[BaseException], ...] = self.conninfo.connection_errors
        self.connection_errors = (*lost, OperationalError)
        self._consumes = False
        self._slots = Slots(
            lambda: int(self.pool.num_processes),
            self.app.conf.penstock_slot_grace_s,
            lambda: int(getattr(self.pool, "blocked", 0)),
        )
        self._silence = Silence()
        self._pulse = Pulse(lambda: float(getattr(self.pool, "blocked_s", 0.0)), self._silence.look)
        if pool_name(type(self.pool)) != "solo":  # which executes in this loop, and may hold it
            self.loop: Any = self._pulse.watched(self.loop)
        self._announcer = announcer_of(
            self.app,
            self.hostname,
            self.consumed_queues,
            self.pool,
            self._slots,
            self._pulse.seen_at,
        )

        client = sync_client(self.app.redis_url)
        self._pauses = Pauses(client, self)
        self._flow = flow.FlowCounts(client)
        self._tally = tally.Tally(client)
        worker_shutdown.connect(self._end_tally)

    def _end_tally(self, **_: Any) -> None:
        self._tally.end()

    def consumed_queues(self) -> tuple[str, ...] | None:
        """Return the work queues that this worker consumes; None while it consumes nothing."""
        consumer = self.task_consumer
        if not self._consumes or consumer is None:
            return None
        names = dict.fromkeys(self.app.layout.named(queue.name) for queue in consumer.queues)
        return tuple(name for name in names if not name.startswith(BROADCAST_QUEUE_PREFIX))

    def ensure_connected(self, conn: Any) -> Any:
        """Connect, and while nobody answers ask again every few seconds, not every 30.

        A host that does not answer is the last one that is tried next time.
        """
        connect = conn.ensure_connection

        def ensure_connection(errback: Callable[..., None], *args: Any, **kwargs: Any) -> Any:
            def failed(error: Exception, interval: float, **more: Any) -> None:
                try_another_host(self.app)
                errback(error, interval, **more)

            kwargs |= {
                "interval_start": RECONNECT_FIRST_S,
                "interval_step": RECONNECT_FIRST_S,
                "interval_max": RECONNECT_LONGEST_S,
            }
            return connect(failed, *args, **kwargs)

        conn.ensure_connection = ensure_connection
        return super().ensure_connected(conn)

    def on_connection_error_after_connected(self, exc: BaseException) -> None:
        """Drop the connection of events as well, which leads to the same node as a rule.

        Celery closes it in order when the worker has connected again. A node that is silent let it
        wait for two answers meanwhile, 15 s each.
        """
        if self.event_dispatcher is not None:
            drop(self.event_dispatcher.connection)
        super().on_connection_error_after_connected(exc)

    def update_strategies(self) -> None:
        """Make what handles each task; from now on the pool executes."""
        for task in self.app.tasks.values():
            if isinstance(task, PenstockTask):
                task.Request = request_class(task.Request)
        super().update_strategies()
        self.app.suspects.watch(self.pool)
        prefork.mend(self.pool)
        self._slots.watch()

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
        """Return what handles each delivery; the event loop asks for it before it consumes."""
        handle = super().create_task_handler(*args, **kwargs)
        tags = self.task_consumer._active_tags  # noqa: SLF001  # the only place that knows
        queues: dict[str, str] = {}  # by tag, those of cancelled consumers too
        lost = (*self.connection_errors, *self.channel_errors)
        salvages, named = self.app.salvages, self.app.layout.named

        def handle_guarded(message: Any) -> None:
            queues.update((tag, named(queue)) for queue, tag in tags.items())
            info = message.delivery_info
            message.queue_name = _queue_of(queues, info.get("consumer_tag"))
            if not info.get("redelivered"):
                flow.taken[message.queue_name] += 1
            REQUEST_ID.set(request_id_of(message.headers))
            try:
                read_body(message, salvages)
                handle(message)
            except lost:
                raise
            except Exception as error:  # noqa: BLE001  # whatever a stranger's message makes of us
                self.on_poison(message, error)

        if self.event_dispatcher is not None:
            send_events_once(self.event_dispatcher, lambda: self.connection is not None)
        self._consumes = True
        self._silence.watch(self.connection)
        self._pulse.begin(self.timer if self.hub else None)
        self._pauses.begin()
        self._flow.begin()
        self._tally.begin()
        self._announcer.announce()  # before it consumes: a task of ours is never unknown
        return handle_guarded

    def perform_pending_operations(self) -> None:
        """Be called by the loop that has no hub, every two seconds."""
        self._pulse.beat()
        super().perform_pending_operations()

    def on_close(self) -> None:
        """Note that the connection is gone; Celery forgets its deliveries."""
        self._consumes = False
        self._pauses.forget()
        self._announcer.changed()
        super().on_close()

    def stop(self) -> None:
        """Stop to consume; what runs may end."""
        super().stop()
        self._consumes = False
        self._announcer.changed()

    def add_task_queue(self, queue: str, *args: Any, **kwargs: Any) -> None:
        """Consume one queue more (`celery control add_consumer`), with all of its shards."""
        super().add_task_queue(queue, *args, **kwargs)
        consumer, found = self.task_consumer, self.app.amqp.queues.consume_from
        for shard in self.app.layout.shards(queue):
            if not consumer.consuming_from(shard):
                consumer.add_queue(found[shard])
                consumer.consume()
        self._announcer.changed()

    def cancel_task_queue(self, queue: str) -> None:
        """Consume one queue less (`celery control cancel_consumer`), with all of its shards."""
        super().cancel_task_queue(queue)
        for shard in self.app.layout.shards(queue):
            self.task_consumer.cancel_by_queue(shard)
        self._announcer.changed()

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
        options |= TRIES
        connection.transport_options = options
        return self.ensure_connected(connection)


def read_body(message: Any, salvages: Mapping[str, Salvage]) -> None:
    """Decode a body of JSON as its publisher means it; kombu, which would otherwise, cannot know.

    Args:
        message: kombu's.
        salvages: task → what reads a body of it that cannot be decoded.

    Raises:
        ValueError, RecursionError: It is no JSON that can be read.
    """
    if message.content_type == "application/json" and not message.errors:
        headers = message.headers or {}
        meaning = headers.get(JSON_HEADER)
        try:
            body = decode(message.body, meaning)
        except (ValueError, RecursionError):
            salvage = salvages.get(headers.get("task", ""))
            if salvage is None:
                raise
            body = salvage(message.body, meaning)
        message._decoded_cache = body  # noqa: SLF001  # what its `payload` returns


def _queue_of(queues: Mapping[str, str], consumer_tag: str | None) -> str | None:
    """Return the queue that a delivery came from.

    A consumer that the asyncio pool has added is called after Celery's: `None4.1`.
    """
    tag = consumer_tag or ""
    return queues.get(tag) or queues.get(tag.rpartition(".")[0])
