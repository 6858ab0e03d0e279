"""Names of exchanges and queues that gateways, workers and every layout agree on."""

BROADCAST_EXCHANGE = "broadcast"
"""Fanout to every worker, each through its own queue ``broadcast.<hostname>``."""
BROADCAST_QUEUE_PREFIX = "broadcast."
DEAD_EXCHANGE = "dead"
"""Direct; dead letters carry the name of their work queue as routing key."""
DEAD_SUFFIX = ".dead"
CALLBACKS_QUEUE = "callbacks"
"""Ends of tasks on their way to a callback URL; consumed by the gateway, never by workers."""
OUTCOMES_QUEUE = "dead.outcomes"
"""Receives every dead letter once more, for the gateway, which records how the task ended."""
UNROUTED_EXCHANGE = "unrouted"
"""Alternate exchange of the delivery exchange: the destination no longer exists."""
UNROUTED_QUEUE = "unrouted.dead"
"""Keeps delayed messages whose destination was gone when their delay was over."""
SHARDS_PREFIX = "penstock_shards."
"""Names of the exchanges that spread the messages of a queue over its shards begin with it."""
SHARDS_TYPE = "x-consistent-hash"
"""Their type, of RabbitMQ's plugin `rabbitmq_consistent_hash_exchange`."""
MOST_SHARDS = 64
"""Shards of one queue at most."""
GATE_QUEUE = "penstock_gate"
"""Where delayed messages to queues of an app arrive when their delay is over: the gateway passes
them on, but for those that were revoked."""

HISTORY_EVENTS_QUEUE = "penstock.history.events"
"""Where the history process gets the events of stock workers; it declares the queue itself."""


def shards_exchange(queue: str) -> str:
    """Name the exchange that spreads the messages of a queue over its shards."""
    return SHARDS_PREFIX + queue


def shard_names(queue: str, shards: int) -> tuple[str, ...]:
    """Name the queues of RabbitMQ that are the shards of a queue; the first has its name."""
    return (queue, *(f"{queue}-shard-{number}" for number in range(1, shards)))
