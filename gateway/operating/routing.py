"""Why a message reaches which queues: the bindings that match, in words of AMQP. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.submitting.priorities import honours
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

    def to_json(
        self, topology: Topology, consumers: Mapping[str, int], rabbitmq: int | None
    ) -> dict[str, Any]:
        """The explanation as our API tells it.

        Args:
            topology: Knows what the queues honour.
            consumers: Number of consumers by queue, where it is known.
            rabbitmq: Its major version; None: not known.
        """
        queues = []
        for name in self.queues:
            queue = topology.queues[name]
            told: dict[str, Any] = {
                "name": name,
                "type": queue.type,
                "priority": honours(queue, rabbitmq),
                "limit": queue.limit,
            }
            if queue.max_priority is not None:
                told["max_priority"] = queue.max_priority
            if name in consumers:
                told["consumers"] = consumers[name]
            queues.append(told)
        return {
            "exchange": self.exchange,
            "routing_key": self.routing_key,
            "routable": bool(self.queues),
            "through": self.through,
            "bindings": [binding_json(binding) for binding in self.bindings],
            "queues": queues,
            "priority": any(queue["priority"] for queue in queues),
            "delay": topology.delayable(self.exchange, self.routing_key),
        }


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


def binding_json(binding: Binding) -> dict[str, Any]:
    """A binding as our API tells it."""
    told: dict[str, Any] = {
        "exchange": binding.exchange,
        "queue": binding.queue,
        "key": binding.key,
    }
    if binding.arguments:
        told["arguments"] = dict(binding.arguments)
    return told


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
