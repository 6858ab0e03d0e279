"""Dead letters that this process publishes itself: a consumer that rejects cannot say why."""

import logging
import time
from typing import Any

from amqp.exceptions import AMQPError
from celery import Celery
from celery.exceptions import Reject
from kombu.exceptions import OperationalError

from penstock.wire.headers import (
    ERROR_HEADER,
    ERROR_TYPE_HEADER,
    REASON_HEADER,
    TRACEBACK_HEADER,
)
from penstock.wire.names import DEAD_EXCHANGE
from penstock.worker.ending.failures import Failure
from penstock.worker.errors import UnroutableError
from penstock.worker.messages.envelope import PROTOCOL

TRACEBACK_BYTES = 8 * 1024
ERROR_CHARS = 1000

_logger = logging.getLogger(__name__)


def bury(app: Celery, request: Any, error: Exception, reason: str) -> None:
    """Publish the message of an execution to the dead letters of its queue, and see it confirmed.

    Args:
        app: the application.
        request: Celery's context of the execution.
        error: why; its type, text and the end of its traceback go into headers.
        reason: a kebab-case word for those who list dead letters.

    Raises:
        Reject: RabbitMQ is away or refuses; the message stays in its queue and comes again.
    """
    failure = Failure.of(error)
    queue = (request.delivery_info or {}).get("queue") or app.conf.task_default_queue
    headers = {name: value for name, value in vars(request).items() if name in PROTOCOL}
    headers |= request.headers or {}
    headers |= {
        REASON_HEADER: reason,
        ERROR_TYPE_HEADER: failure.record["type"],
        ERROR_HEADER: failure.record["text"][:ERROR_CHARS],
        TRACEBACK_HEADER: failure.traceback.encode()[-TRACEBACK_BYTES:].decode(errors="ignore"),
    }
    embed = {name: getattr(request, name) for name in ("callbacks", "errbacks", "chain", "chord")}
    try:
        with app.producer_pool.acquire(block=True) as producer:
            producer.publish(
                [request.args, request.kwargs, embed],
                exchange=DEAD_EXCHANGE,
                routing_key=queue,
                headers=headers,
                serializer="json",
                correlation_id=request.id,
                message_id=request.id,
                delivery_mode=2,
                timestamp=int(time.time()),  # RabbitMQ writes no x-death for it
                mandatory=True,
                retry=True,
                retry_policy=app.conf.task_publish_retry_policy,
            )
    except UnroutableError:
        _logger.exception("dead letter without a queue: task_id=%s queue=%s", request.id, queue)
    except (OperationalError, AMQPError, OSError) as failed:
        raise Reject(f"no dead letter could be published: {failed!r}", requeue=True) from error
