"""Messages of tasks that this worker lacks, in a queue that it consumes.

Another worker of the queue has the task, when a release that adds it is under way, or when teams
share a queue. The message waits a second in the broker's delay levels and is offered again, until
a worker that has the task takes it. When no live worker announces the task, it ends as Celery ends
it: FAILURE `NotRegistered`, and its message among the dead letters, to be replayed.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from typing import Any

from celery import Celery
from redis import Redis
from redis.exceptions import RedisError

from penstock.wire.announcements import WORKERS_KEY, WorkerRecord, decode_worker
from penstock.wire.delay import delay_route
from penstock.wire.headers import BROKER_PREFIXES
from penstock.wire.names import BROADCAST_QUEUE_PREFIX
from penstock.worker.redis_client import sync_client

OFFERED_AGAIN_S = 1
_PROPERTIES = ("correlation_id", "delivery_mode", "message_id", "priority", "reply_to", "timestamp")

_logger = logging.getLogger(__name__)


class UnknownTasks:
    """Knows from Redis which other workers have a task.

    Args:
        app: a `Penstock`.
        worker: the node name of this worker.
    """

    def __init__(self, app: Celery, worker: str) -> None:
        self._app = app
        self._worker = worker
        self._client: Redis = sync_client(app.redis_url)
        self._said: set[str] = set()

    def say_what_is_lacking(self, queues: Sequence[str]) -> None:
        """Log which tasks of its queues this worker lacks; to be called before it consumes.

        Args:
            queues: that it is about to consume.
        """
        own = self._app.tasks.keys()
        lacking = [
            f"the layout sends {', '.join(names)} to {queue}"
            for queue in queues
            if (names := sorted(self._app.layout.routed_to(queue) - own))
        ]
        try:
            for record in self._others():
                shared = sorted(set(record.queues) & set(queues))
                names = sorted(set(record.tasks) - own)
                if shared and names:
                    words = f"{record.worker} has {', '.join(names)} and consumes"
                    lacking.append(f"{words} {', '.join(shared)} too")
        except RedisError as error:
            _logger.warning("the tasks of other workers are not known: %r", error)
        for one in lacking:
            if one not in self._said:
                self._said.add(one)
                _logger.warning("tasks that this worker lacks: %s", one)

    def offer_again(self, message: Any, task: str) -> bool:
        """Publish the message of a task again, to its queue and a second later, and acknowledge it.

        Args:
            message: kombu's, with `queue_name`.
            task: its name.

        Returns:
            Whether a live worker of the queue has the task, or may have it: Redis is away.

        Raises:
            OperationalError, AMQPError, OSError: RabbitMQ is away, or refuses; nothing is
                acknowledged. Queued: unknown.
        """
        queue = message.queue_name
        if not queue or queue.startswith(BROADCAST_QUEUE_PREFIX) or not self._known(task, queue):
            return False
        exchange, routing_key = delay_route(OFFERED_AGAIN_S, "", queue)
        properties = message.properties
        with self._app.producer_pool.acquire(block=True) as producer:
            producer.publish(
                message.body,
                exchange=exchange,
                routing_key=routing_key,
                headers={
                    name: value
                    for name, value in message.headers.items()
                    if not name.startswith(BROKER_PREFIXES)
                },
                content_type=message.content_type,
                content_encoding=message.content_encoding,
                mandatory=True,
                retry=True,
                retry_policy=self._app.conf.task_publish_retry_policy,
                **{name: properties[name] for name in _PROPERTIES if name in properties},
            )
        message.ack()
        _logger.warning(
            "another worker has it, offered again: task=%s task_id=%s queue=%s",
            task,
            message.headers.get("id"),
            queue,
        )
        return True

    def _known(self, task: str, queue: str) -> bool:
        try:
            return any(task in one.tasks and queue in one.queues for one in self._others())
        except RedisError:
            return True

    def _others(self) -> Iterator[WorkerRecord]:
        """Yield the records of live workers.

        Raises:
            RedisError: Redis is away.
        """
        now = time.time()
        found: Any = self._client.hvals(WORKERS_KEY)
        for value in found:
            try:
                record = decode_worker(value)
            except ValueError:
                continue
            if record.worker != self._worker and record.is_live(now):
                yield record
