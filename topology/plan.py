"""Everything that a layout makes on the broker: what it says and what follows from it.

Both declarers, the check of a live broker and the drawings read this one list.
"""

from collections.abc import Iterator

from penstock.wire.delay import (
    ANY_DELAY,
    DELIVERY_EXCHANGE,
    MAX_KEY_BYTES,
    PREFIX_BYTES,
    destination_words,
)
from penstock.wire.names import (
    DEAD_EXCHANGE,
    DEAD_SUFFIX,
    GATE_QUEUE,
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
from topology.sharding import shards, spread

DEAD_QUEUE_ARGUMENTS = {
    "x-queue-type": "quorum",
    # Looking at a letter returns it to the queue. RabbitMQ 4 destroys one that was returned 20
    # times unless told otherwise, and 3.10 takes -1 (no limit) for "at the first return".
    "x-delivery-limit": 1_000_000,
}

GATE_DELIVERY_LIMIT = 1_000
"""A gateway that loses its connection gives back what it holds: that is no fault of a message."""


def declarations(topology: Topology) -> Declarations:
    """List what to declare for a layout; each worker adds the queue of its broadcasts.

    Nothing in it belongs to an app but ends of bindings that are not required.
    """
    plain = (
        _layout(topology)
        + _dead_letters(topology)
        + levels()
        + (_gate() if topology.has_app else Declarations())
        + _deliveries(topology)
    )
    return spread(topology, plain) + shards(topology)


def of_apps(topology: Topology) -> Declarations:
    """List what a layout takes to be there because an app declares it; arguments are not known."""
    return Declarations(
        exchanges=tuple(
            ExchangeDeclaration(name=exchange.name, type=exchange.type)
            for exchange in topology.exchanges.values()
            if not exchange.ours
        ),
        queues=tuple(
            QueueDeclaration(name=queue.name)
            for queue in topology.queues.values()
            if not queue.ours
        ),
        bindings=tuple(
            _declared(binding)
            for binding in topology.bindings
            if not topology.queues[binding.queue].ours
        ),
    )


def _layout(topology: Topology) -> Declarations:
    return Declarations(
        exchanges=tuple(
            ExchangeDeclaration(
                name=exchange.name, type=exchange.type, arguments=exchange.arguments
            )
            for exchange in topology.exchanges.values()
            if exchange.ours and exchange.name != DELIVERY_EXCHANGE  # that is with the levels
        ),
        queues=tuple(
            QueueDeclaration(name=queue.name, arguments=queue.arguments)
            for queue in topology.queues.values()
            if queue.ours
        ),
        bindings=tuple(
            _declared(binding)
            for binding in topology.bindings
            if topology.queues[binding.queue].ours
        ),
    )


def _declared(binding: Binding) -> BindingDeclaration:
    return BindingDeclaration(
        source=binding.exchange,
        destination=binding.queue,
        key=binding.key,
        arguments=binding.arguments,
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


def _gate() -> Declarations:
    """Keep messages whose delay is over and that are to reach what an app owns."""
    return Declarations(
        queues=(
            QueueDeclaration(
                name=GATE_QUEUE,
                arguments={
                    "x-queue-type": "quorum",
                    "x-delivery-limit": GATE_DELIVERY_LIMIT,
                    "x-overflow": "reject-publish",
                    "x-dead-letter-exchange": DEAD_EXCHANGE,
                    "x-dead-letter-routing-key": GATE_QUEUE,
                    "x-dead-letter-strategy": "at-least-once",
                },
            ),
            QueueDeclaration(name=GATE_QUEUE + DEAD_SUFFIX, arguments=DEAD_QUEUE_ARGUMENTS),
        ),
        bindings=(
            BindingDeclaration(
                source=DELIVERY_EXCHANGE, destination=GATE_QUEUE, key=f"{ANY_DELAY}.{GATE_QUEUE}"
            ),
            *(
                BindingDeclaration(source=DEAD_EXCHANGE, destination=destination, key=GATE_QUEUE)
                for destination in (GATE_QUEUE + DEAD_SUFFIX, OUTCOMES_QUEUE)
            ),
        ),
    )


def _deliveries(topology: Topology) -> Declarations:
    """Bind each queue to the delivery exchange as it is bound to its own exchanges.

    A queue of an app is bound by its name alone, for workers that delay their own tasks, unless
    that name reads like a destination of ours.
    """
    keys = dict.fromkeys(
        (binding.queue, key)
        for binding in topology.bindings
        if topology.queues[binding.queue].ours and topology.exchanges[binding.exchange].ours
        for key in _delivery_keys(binding, topology.exchanges[binding.exchange].type)
    )
    own = topology.own_exchanges
    keys |= dict.fromkeys(
        (name, f"{ANY_DELAY}.{name}")
        for name, queue in topology.queues.items()
        if queue.ours or _can_be_bound(name, own)
    )
    return Declarations(
        bindings=tuple(
            BindingDeclaration(
                source=DELIVERY_EXCHANGE,
                destination=queue,
                key=key,
                required=topology.queues[queue].ours,
            )
            for queue, key in keys
        )
    )


def _can_be_bound(queue: str, own_exchanges: frozenset[str]) -> bool:
    """Whether the name of an app's queue means it alone behind the words of a delay."""
    words = queue.split(".")
    return (
        words[0] not in own_exchanges
        and {"*", "#"}.isdisjoint(words)
        and PREFIX_BYTES + len(queue.encode()) <= MAX_KEY_BYTES
    )


def _delivery_keys(binding: Binding, exchange_type: str) -> Iterator[str]:
    if exchange_type == "fanout":
        yield f"{ANY_DELAY}.{binding.exchange}.#"
    elif exchange_type != "headers":
        yield f"{ANY_DELAY}.{destination_words(binding.exchange, binding.key)}"
