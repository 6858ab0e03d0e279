"""How this process publishes task messages.

Confirmed, returned when no queue takes them, and delayed by the broker, not in a worker's memory.
"""

import math
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from amqp.exceptions import AMQPError
from celery.app.amqp import AMQP as CeleryAMQP  # noqa: N811  # a class, whatever its case
from celery.app.amqp import Queues as CeleryQueues
from celery.app.routes import Router as CeleryRouter
from celery.utils.time import maybe_iso8601
from kombu import pools
from kombu.entity import Queue
from kombu.exceptions import EncodeError
from kombu.messaging import Consumer as KombuConsumer
from kombu.messaging import Producer as KombuProducer

from penstock.wire.delay import MAX_BROKER_DELAY_S, delay_route
from penstock.wire.headers import GATE_HEADER, JSON_HEADER
from penstock.wire.names import BROADCAST_QUEUE_PREFIX, GATE_QUEUE
from penstock.wire.refusals import ONE_NODE_WITHIN_S
from penstock.worker.errors import DelayNotSupportedError, UnroutableError
from penstock.worker.layout import AppsQueue, undeclared
from penstock.worker.messages.accepted import Accepted
from penstock.worker.messages.connection import Connection, answered_within
from penstock.worker.messages.json_values import encode
from penstock.worker.messages.own_queue import own_words
from penstock.worker.redis_client import sync_client

CONFIRM_TIMEOUT_S = 15.0
"""After so long without a confirm a connection counts as lost, and the message is published again:
a broker that vanished without a word would hold a retry, its slot and a shutdown for ever."""


class Producer(KombuProducer):
    """Raises when a mandatory message comes back, and says what its JSON means.

    A returned message is confirmed all the same (RabbitMQ: Basic.Return, then Basic.Ack), so it
    must be noticed in between; py-amqp alone would raise at the return and take the Ack for that of
    the next message.
    """

    def __init__(self, channel: Any, **kwargs: Any) -> None:
        self._returned = threading.local()
        super().__init__(channel, **kwargs, on_return=self._note)  # type: ignore[no-untyped-call]

    def _note(self, error: Exception, exchange: str, routing_key: str, message: Any) -> None:  # noqa: ARG002
        self._returned.error = error

    def publish(self, *args: Any, **kwargs: Any) -> Any:
        """Publish; without a confirm in time `OperationalError`, after the retries."""
        kwargs.setdefault("confirm_timeout", CONFIRM_TIMEOUT_S)
        return super().publish(*args, **kwargs)  # type: ignore[no-untyped-call]

    def _prepare(
        self,
        body: Any,
        serializer: str | None = None,
        content_type: str | None = None,
        content_encoding: str | None = None,
        compression: str | None = None,
        headers: dict[str, Any] | None = None,
    ) -> Any:
        """Encode a body, and say in the header how its envelopes are meant.

        A retry comes with the headers of its delivery, whose body another process wrote.
        """
        headers = {} if headers is None else headers
        if content_type is None:
            headers.pop(JSON_HEADER, None)
            if (serializer or self.serializer) == "json":
                try:
                    body, meaning = encode(body)
                except Exception as error:
                    raise EncodeError(error) from error  # as kombu does, which Celery expects
                content_type, content_encoding = "application/json", "utf-8"
                if meaning is not None:
                    headers[JSON_HEADER] = meaning
        return super()._prepare(  # type: ignore[no-untyped-call]
            body, serializer, content_type, content_encoding, compression, headers
        )

    def _publish(self, *args: Any, **kwargs: Any) -> Any:
        self._returned.error = None
        answer = super()._publish(*args, **kwargs)  # type: ignore[no-untyped-call]
        if self._returned.error is not None:
            raise UnroutableError(f"no queue took the message: {self._returned.error}")
        return answer


class Router(CeleryRouter):  # type: ignore[misc]
    """A caller who names a queue or an exchange is obeyed; Celery would mix in the task's route."""

    def route(
        self,
        options: dict[str, Any],
        name: str,
        args: Any = (),
        kwargs: Any = None,
        task_type: Any = None,
    ) -> dict[str, Any]:
        """Return the options with the destination in them."""
        options = {key: value for key, value in options.items() if value is not None}
        if options.get("queue"):
            return {**self.expand_destination(options), "exchange": None, "routing_key": None}
        if "exchange" in options:
            return options
        routed: dict[str, Any] = super().route(options, name, args, kwargs, task_type)
        return routed


class Queues(CeleryQueues):  # type: ignore[misc]
    """Queues that exist: of the layout, or made by a gateway. kombu declares none of them."""

    shards: Callable[[str], Sequence[str]] = staticmethod(lambda name: (name,))
    """Names the queues of RabbitMQ behind one that is consumed."""

    def __setitem__(self, name: str, queue: Queue) -> None:
        """Add a queue; one of an unknown type is taken for what a layout has by default.

        Celery decides by the type how to limit what is prefetched: what it says for quorum queues
        is right for classic ones too (`celery.worker.consumer.tasks`).
        """
        super().__setitem__(name, _quorum(queue))

    @property
    def consume_from(self) -> dict[str, Queue]:
        """What a worker consumes: what `-Q` names, else all but the queues of other apps.

        With each queue all of its shards.
        """
        found: dict[str, Queue] = super().consume_from
        if self._consume_from is None:
            found = {name: one for name, one in found.items() if not isinstance(one, AppsQueue)}
        return found | {
            shard: _quorum(undeclared(shard))
            for name in found
            for shard in self.shards(name)
            if shard != name
        }


def _quorum(queue: Queue) -> Queue:
    """Take a queue of an unknown type for one of quorum, and declare none."""
    queue.queue_arguments = {"x-queue-type": "quorum", **(queue.queue_arguments or {})}  # type: ignore[attr-defined]  # as below
    queue.no_declare = True  # type: ignore[attr-defined]  # kombu's types lack it
    return queue


class Consumer(KombuConsumer):
    """Consumes several queues, of which one may be cancelled by RabbitMQ: the others go on.

    What is delivered before all of them are consumed waits: where RabbitMQ does not answer for a
    queue, the connection is of no more use, and all of it is delivered again on the next one.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.on_cancelled: Callable[[str], None] = lambda _queue: None
        """Called with a queue whose consumer RabbitMQ has cancelled."""
        self.on_refused: Callable[[str, Exception], None] = lambda _queue, _error: None
        """Called with a queue that cannot be consumed; the connection is lost, for all of them."""
        self._waiting: list[Any] | None = None
        self._within_s = ONE_NODE_WITHIN_S
        super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]

    def _consume_queues(self, no_ack_by_queue: dict[str, bool | None]) -> None:
        """Wait for each answer: it says which queue it is about."""
        names = self._queues.keys() & no_ack_by_queue.keys() - self._active_tags.keys()  # type: ignore[union-attr]  # dicts
        if not names:
            return
        waiting: list[Any] = []
        self._waiting = waiting
        try:
            underlay: Any = self.channel.connection  # type: ignore[union-attr]  # there is one
            asked = time.monotonic()
            underlay.channel().close()  # whatever has an answer
            self._within_s = time.monotonic() - asked + ONE_NODE_WITHIN_S
            for queue in tuple(self._queues.values()):  # type: ignore[union-attr]  # a dict
                if queue.name in names:
                    self._basic_consume(queue, no_ack=no_ack_by_queue[queue.name], nowait=False)
        finally:
            self._waiting = None
        for message in waiting:
            self._receive_callback(message)

    def _receive_callback(self, message: Any) -> Any:
        if self._waiting is not None:
            self._waiting.append(message)
            return None
        return super()._receive_callback(message)  # type: ignore[no-untyped-call]

    def _basic_consume(self, queue: Any, *args: Any, **kwargs: Any) -> Any:
        channel: Any = self.channel
        try:
            with answered_within(channel.connection, self._within_s):
                tag = super()._basic_consume(queue, *args, **kwargs)  # type: ignore[no-untyped-call]
        except (AMQPError, OSError) as error:
            self.on_refused(queue.name, error)
            raise
        # Without one, py-amqp takes it for a lost connection.
        channel.cancel_callbacks[tag] = self._cancelled
        return tag

    def _cancelled(self, tag: str) -> None:
        for name, active in tuple(self._active_tags.items()):
            if active == tag:
                del self._active_tags[name]
                self._queues.pop(name)  # type: ignore[union-attr]  # a dict
                self.on_cancelled(name)


class AMQP(CeleryAMQP):  # type: ignore[misc]
    """Celery's way to send task messages, with ours to address, confirm and delay them."""

    Connection = Connection
    Consumer = Consumer
    queues_cls = Queues

    Producer = Producer
    """Of who publishes on a connection of their own; the pool has the same."""

    def Queues(self, *args: Any, **kwargs: Any) -> Queues:  # noqa: N802  # Celery's
        """Return the queues of this application."""
        queues: Queues = super().Queues(*args, **kwargs)
        queues.shards = self.app.layout.shards
        return queues

    def Router(self, queues: Any = None, create_missing: Any = None) -> Router:  # noqa: N802  # Celery's
        """Return the router of this application."""
        return Router(self.routes, queues or self.queues, create_missing or False, app=self.app)

    _producer_pool: pools.ProducerPool | None

    @property
    def producer_pool(self) -> pools.ProducerPool:
        """The pool of producers."""
        if self._producer_pool is None:
            connections = pools.connections[self.app.connection_for_write()]
            self._producer_pool = pools.ProducerPool(
                connections, limit=self.app.pool.limit, Producer=Producer
            )
        return self._producer_pool

    def as_task_v2(self, *args: Any, deliver_at: Any = None, **kwargs: Any) -> Any:
        """Make a message; `deliver_at` is the ETA that was kept from Celery's own delays."""
        message = super().as_task_v2(*args, **kwargs)
        if deliver_at is not None:
            message.headers["eta"] = deliver_at.isoformat()
        return message

    def _create_task_sender(self) -> Callable[..., Any]:
        send = super()._create_task_sender()
        accepted = Accepted(lambda: sync_client(self.app.redis_url))

        def send_task_message(
            producer: Any,
            name: str,
            message: Any,
            exchange: Any = None,
            routing_key: str | None = None,
            queue: Any = None,
            deliver_at: datetime | None = None,  # noqa: ARG001  # it is in the headers
            **options: Any,
        ) -> Any:
            exchange, routing_key = self._destination(exchange, routing_key, queue)
            delay_s = self._delay_s(message.headers.get("eta"))
            if delay_s:
                exchange, routing_key = self._delayed(
                    delay_s, exchange, routing_key, message.headers
                )
                # It would leave its level early; the worker looks at the header `expires`.
                options.pop("expiration", None)
            elif not exchange:
                exchange, routing_key = self.app.layout.entry(routing_key)
            options.setdefault("mandatory", True)
            # Not "direct", or Celery publishes to the default exchange whatever it is told.
            options["exchange_type"] = "topic"
            sent = send(
                producer, name, message, exchange=exchange, routing_key=routing_key, **options
            )
            accepted.add(message.headers, str(getattr(queue, "name", queue) or ""))
            return sent

        return send_task_message

    def _destination(self, exchange: Any, routing_key: str | None, queue: Any) -> tuple[str, str]:
        if exchange is None:
            queue = queue or self.app.conf.task_default_queue
            return "", queue.name if isinstance(queue, Queue) else str(queue)
        return str(getattr(exchange, "name", exchange)), routing_key or ""

    def _delay_s(self, eta: str | None) -> int:
        """Return the whole seconds until an ETA, rounded up; 0 when it has come."""
        if not eta:
            return 0
        left_s: float = (maybe_iso8601(eta) - self.app.now()).total_seconds()
        return min(int(MAX_BROKER_DELAY_S), max(0, math.ceil(left_s)))

    def _delayed(
        self, delay_s: int, exchange: str, routing_key: str, headers: dict[str, Any]
    ) -> tuple[str, str]:
        if not exchange and routing_key.startswith(BROADCAST_QUEUE_PREFIX):
            return delay_route(delay_s, "", own_words(routing_key))
        if self.app.layout.gated(exchange, routing_key):
            headers[GATE_HEADER] = [exchange, routing_key]
            return delay_route(delay_s, "", GATE_QUEUE)
        if not self.app.layout.delayable(exchange, routing_key):
            raise DelayNotSupportedError(f"{exchange!r} cannot delay {routing_key!r}")
        return delay_route(delay_s, exchange, routing_key)
