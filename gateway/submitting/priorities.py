"""Which queues honour a message's priority. Pure.

Classic queues do with `x-max-priority`; quorum queues since RabbitMQ 4 (its documentation, "Quorum
Queues: Message Priorities": two levels, 0–4 and above), and ignore it before.
"""

from collections.abc import Iterable

from gateway.errors import invalid_request
from topology.entities import Queue

QUORUM_SINCE = 4
"""First major version whose quorum queues honour priorities."""


def honours(queue: Queue, rabbitmq: int | None) -> bool:
    """Return whether the queue honours priorities; one that may, if the version is not known, does.

    Args:
        queue: Of the layout.
        rabbitmq: Its major version; None: not known.
    """
    if queue.type == "quorum":
        return rabbitmq is None or rabbitmq >= QUORUM_SINCE
    return queue.max_priority is not None


def check_priority(queues: Iterable[Queue], rabbitmq: int | None) -> None:
    """Refuse a priority that no queue honours: it would be ignored in silence.

    Args:
        queues: Where the message goes.
        rabbitmq: Its major version; None: not known.

    Raises:
        Problem: `invalid-request` at `$.options.priority` (queued: no).
    """
    queues = tuple(queues)
    if any(honours(queue, rabbitmq) for queue in queues):
        return
    if queues:
        where = "Queue " + " or ".join(repr(queue.name) for queue in queues)
        what = f"{where} would ignore it: leave it out, or choose a queue with max_priority"
    else:
        what = "The workers' own queues would ignore it: leave it out of a broadcast"
    if any(queue.type == "quorum" for queue in queues):
        what += f" (quorum queues honour it from RabbitMQ {QUORUM_SINCE} on)"
    raise invalid_request("$.options.priority", what, queued="no")
