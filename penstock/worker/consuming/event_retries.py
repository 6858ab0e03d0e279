"""Events of a worker: a lost connection delays them, and never holds up the tasks.

Celery sends its heartbeat with kombu's retries. On a connection that is lost these declare the
exchange of events again and again on the channel that is gone, connect anew for each try, and never
end: the worker's loop stands still, and consumes no more (`celery.worker.heartbeat.Heart`,
`kombu.common._imaybe_declare`).
"""

import time
from collections.abc import Callable
from typing import Any

from penstock.worker.messages.connection import bound

AGAIN_S = 5.0
"""Between two tries to connect for events alone."""
TRIES = {"max_retries": 1, "interval_start": 0, "interval_max": 0}
"""Of such a connection, in kombu's `transport_options`: its loop has other things to do."""


def send_events_once(
    dispatcher: Any, consumes: Callable[[], bool] = lambda: True, again_s: float = AGAIN_S
) -> None:
    """Have a dispatcher try each event once; what fails is sent when it has connected again.

    Args:
        dispatcher: Celery's, of a connection that begins to consume.
        consumes: returns whether that connection is there; without it, Celery is about to connect,
            and sends with a new dispatcher what waits.
        again_s: Between two tries to connect, seconds.
    """
    publish, again_at = dispatcher._publish, 0.0  # noqa: SLF001  # what every event passes
    waiting = dispatcher._outbound_buffer  # noqa: SLF001  # Celery's, for what fails

    def publish_once(event: Any, producer: Any, routing_key: str, **how: Any) -> None:
        nonlocal again_at
        connection = dispatcher.connection
        if producer is None or connection.connected:
            publish(event, producer, routing_key, **{**how, "retry": False})
            return
        waiting.append((event, routing_key))
        if time.monotonic() < again_at or not consumes():
            return
        again_at = time.monotonic() + again_s
        connection.collect()
        producer.revive(connection)
        late = list(waiting)
        waiting.clear()
        for number, (one, its_key) in enumerate(late):
            publish(one, producer, its_key, retry=False)
            if not connection.connected:  # Celery has kept this one
                waiting.extend(late[number + 1 :])
                return
        bound(connection)

    dispatcher._publish = publish_once  # noqa: SLF001  # as above
