"""What RabbitMQ says when it refuses, as far as it matters to more than one process."""

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
