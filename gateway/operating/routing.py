"""Why a message reaches which queues: the bindings that match, in words of AMQP. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from topology.entities import Binding, Exchange
from topology.matching import headers_match, key_words, topic_matches
from topology.model import Topology


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Where a message to one exchange goes."""

    exchange: str
    routing_key: str
    through: tuple[str, ...]
    """Exchanges in the order asked: the one named, then alternates."""
    bindings: tuple[Binding, ...]
    """What matched on the last of them; none on the default exchange, which needs no binding."""
    queues: tuple[str, ...]


def explain(
    topology: Topology, exchange: str, routing_key: str, headers: Mapping[str, Any]
) -> Explanation:
    """Follow a message from its exchange to its queues.

    Args:
        topology: The layout.
        exchange: One of the layout's; `""` is the default exchange.
        routing_key: The message's.
        headers: The message's; only headers exchanges look at them.
    """
    through = [exchange]
    matched: tuple[Binding, ...] = ()
    here = topology.exchanges.get(exchange)
    while here is not None:
        matched = tuple(
            binding
            for binding in topology.bindings
            if binding.exchange == here.name and _matches(here, binding, routing_key, headers)
        )
        here = topology.exchanges.get(here.alternate or "") if not matched else None
        if here is not None:
            through.append(here.name)
    return Explanation(
        exchange=exchange,
        routing_key=routing_key,
        through=tuple(through),
        bindings=matched,
        queues=topology.match(exchange, routing_key, headers),
    )


def _matches(
    exchange: Exchange, binding: Binding, routing_key: str, headers: Mapping[str, Any]
) -> bool:
    match exchange.type:
        case "direct":
            return binding.key == routing_key
        case "fanout":
            return True
        case "topic":
            return topic_matches(key_words(binding.key), key_words(routing_key))
        case "headers":
            return headers_match(binding.arguments, headers)
