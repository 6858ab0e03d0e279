"""What RabbitMQ says when it refuses, or that it says nothing: what more than one process reads."""

from typing import Final

ONE_NODE_WITHIN_S: Final = 3.0
"""How long the node of a queue that lives on it alone may take to answer: one that has vanished
without a word does not before its net tick, a minute later."""

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
