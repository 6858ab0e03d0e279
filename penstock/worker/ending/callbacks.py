"""Ends of tasks that somebody wants to be called about: a message each, which the gateway delivers.

The message is published after the end was stored. A worker that dies in between is made up for: the
task is delivered again, found ended, and its end announced then. The id of the event is made of
what happened, so that whoever is told twice can see it.
"""

import json
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from amqp.exceptions import AMQPError
from celery import Celery, states
from kombu.exceptions import OperationalError

from penstock.wire.end_events import DELIVER_TASK, end_event
from penstock.wire.names import CALLBACKS_QUEUE
from penstock.worker import tracing
from penstock.worker.errors import UnroutableError
from penstock.worker.stopping import stopping

WAIT_S = 1.0
"""Between attempts while RabbitMQ is away."""

_logger = logging.getLogger(__name__)


class CallbackEnds:
    """Announces the ends that a result backend of Celery is told.

    Stands before Celery's backend in the bases of a class.
    """

    app: Any

    def mark_as_done(  # noqa: D102  # Celery's
        self,
        task_id: str,
        result: Any,
        request: Any = None,
        store_result: bool = True,  # noqa: FBT001, FBT002
        state: str = states.SUCCESS,
    ) -> None:
        super().mark_as_done(task_id, result, request, store_result, state)  # type: ignore[misc]
        self.announce_end(request, state)

    def mark_as_failure(  # noqa: D102  # Celery's
        self,
        task_id: str,
        exc: Any,
        traceback: Any = None,
        request: Any = None,
        store_result: bool = True,  # noqa: FBT001, FBT002
        call_errbacks: bool = True,  # noqa: FBT001, FBT002
        state: str = states.FAILURE,
    ) -> None:
        super().mark_as_failure(  # type: ignore[misc]
            task_id, exc, traceback, request, store_result, call_errbacks, state
        )
        self.announce_end(request, state)

    def mark_as_revoked(  # noqa: D102  # Celery's
        self,
        task_id: str,
        reason: str = "",
        request: Any = None,
        store_result: bool = True,  # noqa: FBT001, FBT002
        state: str = states.REVOKED,
    ) -> None:
        super().mark_as_revoked(task_id, reason, request, store_result, state)  # type: ignore[misc]
        self.announce_end(request, state)

    def announce_end(self, request: Any, state: str) -> None:
        """Publish the end of a task to the callbacks, if somebody wants to be called.

        Waits while RabbitMQ is away: what it delivered to this process is not acknowledged then.

        Args:
            request: Celery's context of the execution; None when there is none.
            state: the final state.
        """
        headers = getattr(request, "headers", None)
        if headers and state in states.READY_STATES:
            headers = tracing.headers_here(headers)
            event = end_event(request.id, request.task, state, headers)
            if event is not None:
                publish_event(self.app, event)


def publish_event(app: Celery, event: dict[str, Any]) -> None:
    """Publish the body of a message, and see it confirmed."""

    def publish() -> None:
        with app.producer_pool.acquire(block=True) as producer:
            producer.publish(
                json.dumps(event),
                exchange="",
                routing_key=CALLBACKS_QUEUE,
                headers={"task": DELIVER_TASK, "id": event["event"]},
                content_type="application/json",
                content_encoding="utf-8",
                message_id=event["event"],
                delivery_mode=2,
                mandatory=True,
                retry=True,
                retry_policy=app.conf.task_publish_retry_policy,
            )

    patiently(publish, f"callback of {event['id']}")


def patiently(publish: Callable[[], Any], what: str) -> None:
    """Publish, however long RabbitMQ is away, unless the worker is told to stop meanwhile.

    Args:
        publish: publishes, confirmed.
        what: is published, for the log.
    """
    while True:
        try:
            publish()
        except UnroutableError:
            _logger.exception("no queue takes it: %s", what)
        except (OperationalError, AMQPError, OSError) as error:
            if stopping() and threading.current_thread() is not threading.main_thread():
                _logger.warning("not published, the worker stops: %s", what)
                return
            _logger.warning("not published yet: %s error=%r", what, error)
            time.sleep(WAIT_S)
            continue
        return
