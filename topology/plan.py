"""Everything that a layout makes on the broker: what it says and what follows from it.

Both declarers, the check of a live broker and the drawings read this one list.
"""

from collections.abc import Iterator

from penstock.wire.delay import ANY_DELAY, DELIVERY_EXCHANGE, destination_words
from penstock.wire.names import (
    DEAD_EXCHANGE,
    OUTCOMES_QUEUE,
    UNROUTED_EXCHANGE,
    UNROUTED_QUEUE,
)
from topology.declarations import (
    BindingDeclaration,
    Declarations,
    ExchangeDeclaration,
    QueueDeclaration,
)
from topology.delay_levels import levels
from topology.entities import Binding
from topology.model import Topology

DEAD_QUEUE_ARGUMENTS = {
    "x-queue-type": "quorum",
    # Looking at a letter returns it to the queue. RabbitMQ 4 destroys one that was returned 20
    # times unless told otherwise, and 3.10 takes -1 (no limit) for "at the first return".
    "x-delivery-limit": 1_000_000,
}


def declarations(topology: Topology) -> Declarations:
    """List what to declare for a layout; each worker adds the queue of its broadcasts."""
    return _layout(topology) + _dead_letters(topology) + levels() + _deliveries(topology)


def _layout(topology: Topology) -> Declarations:
    return Declarations(
        exchanges=tuple(
            ExchangeDeclaration(
                name=exchange.name, type=exchange.type, arguments=exchange.arguments
            )
            for exchange in topology.exchanges.values()
            if exchange.name != DELIVERY_EXCHANGE  # belongs to the delay levels
        ),
        queues=tuple(
            QueueDeclaration(name=queue.name, arguments=queue.arguments)
            for queue in topology.queues.values()
        ),
        bindings=tuple(
            BindingDeclaration(
                source=binding.exchange,
                destination=binding.queue,
                key=binding.key,
                arguments=binding.arguments,
            )
            for binding in topology.bindings
        ),
    )


def _dead_letters(topology: Topology) -> Declarations:
    sources = [queue.name for queue in topology.queues.values() if queue.dead_letter]
    kept = [topology.dead_queue(queue) for queue in sources]
    return Declarations(
        queues=tuple(
            QueueDeclaration(name=name, arguments=DEAD_QUEUE_ARGUMENTS)
            for name in (*kept, OUTCOMES_QUEUE, UNROUTED_QUEUE)
        ),
        bindings=(
            *(
                BindingDeclaration(source=DEAD_EXCHANGE, destination=destination, key=source)
                for source, dead in zip(sources, kept, strict=True)
                for destination in (dead, OUTCOMES_QUEUE)
            ),
            BindingDeclaration(source=UNROUTED_EXCHANGE, destination=UNROUTED_QUEUE),
            BindingDeclaration(source=UNROUTED_EXCHANGE, destination=OUTCOMES_QUEUE),
        ),
    )


def _deliveries(topology: Topology) -> Declarations:
    """Bind each queue to the delivery exchange as it is bound to its own exchanges."""
    keys = dict.fromkeys(
        (binding.queue, key)
        for binding in topology.bindings
        for key in _delivery_keys(binding, topology.exchanges[binding.exchange].type)
    )
    keys |= dict.fromkeys((queue, f"{ANY_DELAY}.{queue}") for queue in topology.queues)
    return Declarations(
        bindings=tuple(
            BindingDeclaration(source=DELIVERY_EXCHANGE, destination=queue, key=key)
            for queue, key in keys
        )
    )


def _delivery_keys(binding: Binding, exchange_type: str) -> Iterator[str]:
    if exchange_type == "fanout":
        yield f"{ANY_DELAY}.{binding.exchange}.#"
    elif exchange_type != "headers":
        yield f"{ANY_DELAY}.{destination_words(binding.exchange, binding.key)}"
