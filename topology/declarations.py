"""AMQP declarations as values: what both client libraries are told, and what a broker lists.

Every exchange and queue is durable, neither exclusive nor auto-deleted: RabbitMQ 4 refuses
transient non-exclusive queues, and a confirmed message must outlive a restart.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeDeclaration:
    """The arguments of one ``exchange.declare``."""

    name: str
    type: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueDeclaration:
    """The arguments of one ``queue.declare``."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def on_one_node(self) -> bool:
        """Whether it lives on one node of a cluster, which has to answer: a classic queue."""
        return self.arguments.get("x-queue-type") == "classic"


@dataclass(frozen=True, slots=True, kw_only=True)
class BindingDeclaration:
    """The arguments of one ``queue.bind`` or, between exchanges, ``exchange.bind``."""

    source: str
    destination: str
    key: str = ""
    destination_type: Literal["queue", "exchange"] = "queue"
    arguments: Mapping[str, Any] = field(default_factory=dict)
    required: bool = True
    """False: of a queue that an app owns. It is made where that is there and the account may."""
    spreads: bool = False
    """Whether it leads to a further shard: it is made after `Declarations.replaced` are gone."""


Declaration = ExchangeDeclaration | QueueDeclaration | BindingDeclaration


@dataclass(frozen=True, slots=True, kw_only=True)
class Declarations:
    """Everything to declare, in an order that works: exchanges, then queues, then bindings."""

    exchanges: tuple[ExchangeDeclaration, ...] = ()
    queues: tuple[QueueDeclaration, ...] = ()
    bindings: tuple[BindingDeclaration, ...] = ()
    replaced: tuple[BindingDeclaration, ...] = ()
    """What a queue has before it is sharded, and must not have afterwards: `topology.sharding`."""

    def __add__(self, other: "Declarations") -> "Declarations":
        """Both, these first."""
        return Declarations(
            exchanges=self.exchanges + other.exchanges,
            queues=self.queues + other.queues,
            bindings=self.bindings + other.bindings,
            replaced=self.replaced + other.replaced,
        )


def describe(binding: BindingDeclaration) -> str:
    """Write a binding for people."""
    text = f"binding of {binding.destination_type} {binding.destination!r} to {binding.source!r}"
    if binding.key:
        text += f" with key {binding.key!r}"
    if binding.arguments:
        text += f" with {dict(binding.arguments)}"
    return text
