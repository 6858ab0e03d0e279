"""What RabbitMQ says when it refuses, or that it says nothing: what more than one process reads."""

from typing import Final

ONE_NODE_WITHIN_S: Final = 3.0
"""How long the node of a queue that lives on it alone may take to answer: one that has vanished
without a word does not before its net tick, a minute later."""


def first_declared_within_s(found_in_s: float) -> float:
    """Return how long a process that starts waits for RabbitMQ to declare a layout that is there.

    Then it goes on: a node of a cluster has vanished without a word, and the others wait for it.

    Args:
        found_in_s: how long RabbitMQ took to say that all of it is there.
    """
    return ONE_NODE_WITHIN_S + min(4 * found_in_s, ONE_NODE_WITHIN_S)


_AWAY = (
    "is down or inaccessible",  # home node '…' of durable queue '…' in vhost '…'
    "is stopped by supervisor",  # queue '…' in vhost '…' process
    "has crashed and failed to restart",
)
"""``rabbit_amqqueue:absent`` of RabbitMQ 3.10 to 4.x."""


def is_away(text: str) -> bool:
    """Return whether a 404 NOT_FOUND means a queue that is there, on a node that is not.

    Args:
        text: the reply text of ``channel.close``.
    """
    return any(words in text for words in _AWAY)
