"""A queue as several: the declarations of its shards, in an order in which a live queue can move.

    as it is                     tasks ──► [orders]
    1. bind the exchange beside  tasks ──► [orders],  tasks ──► penstock_shards.orders ──► [orders]
    2. unbind the queue          tasks ──► penstock_shards.orders ──► [orders]
    3. bind the further shards   tasks ──► penstock_shards.orders ──► [orders] [orders-shard-1] …

RabbitMQ gives a queue a message once, whatever leads there, so that in each moment each message
arrives in one queue, once. The queue itself is the first shard: what waits in it stays, and what is
published to it by its name alone arrives. Each step can be done again, and so can all of them after
the last.
"""

from collections.abc import Iterator

from penstock.wire.names import SHARDS_TYPE, shards_exchange
from topology.declarations import (
    BindingDeclaration,
    Declarations,
    ExchangeDeclaration,
    QueueDeclaration,
)
from topology.model import Topology

TASK_ID_HEADER = "id"
"""Where Celery's message protocol 2 has the id of the task."""
_WEIGHT = "1"
"""Binding key: one share of the hash ring."""
NO_PLUGIN = (
    "queue shards need RabbitMQ's plugin rabbitmq_consistent_hash_exchange on every node: "
    "rabbitmq-plugins enable rabbitmq_consistent_hash_exchange"
)


def lacks_plugin(text: str) -> bool:
    """Tell whether RabbitMQ refused a declaration as it lacks the plugin.

    Args:
        text: its words.
    """
    return "exchange type" in text and SHARDS_TYPE in text


def shards(topology: Topology) -> Declarations:
    """List the exchanges and further queues of all that is sharded, bound to each other."""
    sharded = [queue for queue in topology.queues.values() if queue.shards is not None]
    return Declarations(
        exchanges=tuple(
            ExchangeDeclaration(
                name=shards_exchange(queue.name),
                type=SHARDS_TYPE,
                arguments={"hash-header": TASK_ID_HEADER}
                if topology.shard_by(queue.name) == "task_id"
                else {},
            )
            for queue in sharded
        ),
        queues=tuple(
            QueueDeclaration(name=name, arguments=queue.arguments)
            for queue in sharded
            for name in queue.shard_names[1:]
        ),
        bindings=tuple(
            BindingDeclaration(
                source=shards_exchange(queue.name),
                destination=name,
                key=_WEIGHT,
                spreads=name != queue.name,
            )
            for queue in sharded
            for name in queue.shard_names
        ),
    )


def spread(topology: Topology, plan: Declarations) -> Declarations:
    """Lead what is bound to a sharded queue to the exchange of its shards.

    Args:
        topology: the layout.
        plan: as if nothing was sharded.
    """
    return Declarations(
        exchanges=plan.exchanges,
        queues=plan.queues,
        bindings=tuple(_through(topology, binding) for binding in plan.bindings),
        replaced=tuple(_replaced(topology, plan)),
    )


def _is_sharded(topology: Topology, binding: BindingDeclaration) -> bool:
    queue = topology.queues.get(binding.destination)
    return queue is not None and queue.shards is not None


def _through(topology: Topology, binding: BindingDeclaration) -> BindingDeclaration:
    if not _is_sharded(topology, binding):
        return binding
    return BindingDeclaration(
        source=binding.source,
        destination=shards_exchange(binding.destination),
        destination_type="exchange",
        key=binding.key,
        arguments=binding.arguments,
    )


def _replaced(topology: Topology, plan: Declarations) -> Iterator[BindingDeclaration]:
    return (binding for binding in plan.bindings if _is_sharded(topology, binding))
