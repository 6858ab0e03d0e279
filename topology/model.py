"""The whole topology as one validated, immutable value: which queues does a message reach?"""

import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import translate
from types import MappingProxyType
from typing import Any

from penstock.wire.app_description import AppDescription
from penstock.wire.names import BROADCAST_EXCHANGE, CALLBACKS_QUEUE, DEAD_SUFFIX, shards_exchange
from topology.consistency import find_faults
from topology.entities import (
    SYSTEM_EXCHANGES,
    UNBINDABLE_EXCHANGES,
    Binding,
    Exchange,
    Queue,
)
from topology.errors import TopologyError
from topology.matching import headers_match, key_words, topic_matches
from topology.route import Route

CACHE_SIZE = 16_384
"""Answers that `match` and `route` each remember; routing keys are the clients' to choose."""


class Topology:
    """Exchanges, queues, bindings and task routes that fit together.

    The system exchanges (``broadcast``, ``dead``, ``unrouted``, ``penstock_delivery``) are always
    there, named in the layout or not.
    """

    __slots__ = (
        "_exact_routes", "_matches", "_named", "_pattern_routes", "_routed", "_tables",
        "apps", "bindings", "exchanges", "queues", "routes", "source",
    )  # fmt: skip

    exchanges: Mapping[str, Exchange]
    """By name: those of the layout in file order, then the system's."""
    queues: Mapping[str, Queue]
    """Work queues by name, in file order. Dead-letter queues and delay levels are derived."""
    bindings: tuple[Binding, ...]
    routes: tuple[Route, ...]
    source: str
    """The file that it was read from, for messages; empty: none."""
    apps: tuple[AppDescription, ...]
    """Applications whose tasks are known although their workers announce nothing."""

    def __init__(
        self,
        *,
        exchanges: Iterable[Exchange] = (),
        queues: Iterable[Queue] = (),
        bindings: Iterable[Binding] = (),
        routes: Iterable[Route] = (),
        source: str = "",
        apps: Iterable[AppDescription] = (),
    ) -> None:
        """Validate the parts and keep them.

        Raises:
            TopologyError: they contradict themselves or each other; holds every fault.
        """
        self.source, self.apps = source, tuple(apps)
        exchanges, queues = tuple(exchanges), tuple(queues)
        self.bindings, self.routes = tuple(bindings), tuple(routes)
        if faults := tuple(find_faults(exchanges, queues, self.bindings, self.routes)):
            raise TopologyError(faults)
        named = {exchange.name: exchange for exchange in exchanges}
        system = {
            name: Exchange(name=name, type=type_)  # type: ignore[arg-type]
            for name, type_ in SYSTEM_EXCHANGES.items()
        }
        self.exchanges = MappingProxyType(
            named | {k: v for k, v in system.items() if k not in named}
        )
        self.queues = MappingProxyType({queue.name: queue for queue in queues})
        self._named = {shard: queue.name for queue in queues for shard in queue.shard_names}
        order = {name: place for place, name in enumerate(self.queues)}
        self._tables = {
            name: _Table(
                exchange,
                sorted(
                    (binding for binding in self.bindings if binding.exchange == name),
                    key=lambda binding: order[binding.queue],
                ),
            )
            for name, exchange in self.exchanges.items()
        }
        self._exact_routes = {route.task: route for route in self.routes if not route.is_pattern}
        self._pattern_routes = tuple(
            (re.compile(translate(route.task)), route) for route in self.routes if route.is_pattern
        )
        self._matches: dict[tuple[str, str], tuple[str, ...]] = {}
        self._routed: dict[str, Route | None] = {}

    def __repr__(self) -> str:
        """Summarise: how many of each."""
        return (
            f"<Topology {len(self.exchanges)} exchanges, {len(self.queues)} queues, "
            f"{len(self.bindings)} bindings, {len(self.routes)} routes>"
        )

    def match(
        self, exchange: str, routing_key: str, headers: Mapping[str, Any] | None = None
    ) -> tuple[str, ...]:
        """Find the work queues that a message would reach, as the broker would.

        Args:
            exchange: its name; ``""`` is the default exchange: the queue of that name.
            routing_key: the message's.
            headers: the message's; only headers exchanges look at them.

        Returns:
            Queue names in file order; none when nothing matches, alternate exchanges included, or
            when the exchange is not in the layout.
        """
        found = self._matches.get((exchange, routing_key))
        if found is not None:
            return found
        found, keyed = self._look_up(exchange, routing_key, headers or {})
        if keyed:
            if len(self._matches) >= CACHE_SIZE:
                self._matches.clear()
            self._matches[exchange, routing_key] = found
        return found

    def route(self, task_name: str) -> Route | None:
        """Find the route of a task: its exact name first, then patterns in file order."""
        if task_name in self._routed:
            return self._routed[task_name]
        route = self._exact_routes.get(task_name) or next(
            (route for pattern, route in self._pattern_routes if pattern.match(task_name)), None
        )
        if len(self._routed) >= CACHE_SIZE:
            self._routed.clear()
        self._routed[task_name] = route
        return route

    def leads_to_app(self, exchange: str, queues: Iterable[str]) -> bool:
        """Tell whether a message passes what an app owns: workers may take it that are not ours.

        Args:
            exchange: where it is published; ``""`` is the default exchange.
            queues: what it matches there.
        """
        here = self.exchanges.get(exchange)
        return (here is not None and not here.ours) or not all(
            self.queues[name].ours for name in queues
        )

    def broadcast(self, route: Route) -> tuple[str, str]:
        """Return exchange and routing key through which every worker of a task hears it.

        Workers of ours bind a queue each to the exchange ``broadcast``; those of an app to a fanout
        exchange of the app's (kombu's ``Broadcast``), to which the task is routed then.
        """
        here = self.exchanges.get(route.exchange)
        if here is not None and not here.ours and here.type == "fanout":
            return route.exchange, route.routing_key
        return BROADCAST_EXCHANGE, ""

    @property
    def own_exchanges(self) -> frozenset[str]:
        """The names of the exchanges that are ours, which alone begin the words of a delay key."""
        return frozenset(name for name, exchange in self.exchanges.items() if exchange.ours)

    @property
    def has_app(self) -> bool:
        """Whether anything in it belongs to an app."""
        return not (
            all(exchange.ours for exchange in self.exchanges.values())
            and all(queue.ours for queue in self.queues.values())
        )

    @property
    def has_callbacks(self) -> bool:
        """Whether gateways have their queue of callbacks; an app may have one of its name."""
        queue = self.queues.get(CALLBACKS_QUEUE)
        return queue is not None and queue.ours

    def delayable(self, exchange: str, routing_key: str | None = None) -> bool:
        """Tell whether a message to this exchange can wait in the delay levels.

        Args:
            exchange: its name; ``""`` is the default exchange.
            routing_key: when given, also tell about this key: one that matches only through an
                alternate exchange is not delayable, since the delivery exchange has its own.
        """
        if not exchange:
            return routing_key is None or routing_key in self.queues
        known = self.exchanges.get(exchange)
        if known is not None and not known.ours:
            return True  # through the gate, which publishes it there again
        if known is None or known.type == "headers" or exchange in UNBINDABLE_EXCHANGES:
            return False
        if routing_key is None or known.alternate is None:
            return True
        return bool(self._tables[exchange].find(routing_key, {}))

    def shards(self, queue: str) -> tuple[str, ...]:
        """Name the queues of RabbitMQ behind a work queue: one, unless it is sharded.

        Of what is no work queue, such as the dead letters of one: itself.
        """
        known = self.queues.get(queue)
        return (queue,) if known is None else known.shard_names

    def named(self, shard: str) -> str:
        """Name the work queue that a queue of RabbitMQ is a shard of; of any other: itself."""
        return self._named.get(shard, shard)

    def shard_by(self, queue: str) -> str:
        """Say what decides on the shard of a message: `routing_key` or `task_id`.

        Where the layout does not say, the key decides if several can lead to the queue: one key
        would fill one shard.
        """
        if chosen := self.queues[queue].shard_by:
            return chosen
        bindings = [binding for binding in self.bindings if binding.queue == queue]
        keys = {binding.key for binding in bindings}
        wide = any(
            self.exchanges[binding.exchange].type in ("fanout", "headers")
            or not {"*", "#"}.isdisjoint(binding.key.split("."))
            for binding in bindings
        )
        return "routing_key" if wide or len(keys) > 1 else "task_id"

    def entry(self, queue: str, routing_key: str | None = None) -> tuple[str, str]:
        """Return exchange and routing key by which a message reaches a work queue, and no other.

        Args:
            queue: its name.
            routing_key: the message's, if it has one that may decide on its shard.
        """
        known = self.queues.get(queue)
        if known is None or known.shards is None:
            return "", queue
        return shards_exchange(queue), routing_key or queue

    def dead_queue(self, queue: str) -> str:
        """Name the queue that keeps the dead letters of a work queue."""
        return queue + DEAD_SUFFIX

    def _look_up(
        self, exchange: str, routing_key: str, headers: Mapping[str, Any]
    ) -> tuple[tuple[str, ...], bool]:
        """Find the queues, and tell whether exchange and key alone decided it."""
        if not exchange:
            return ((routing_key,) if routing_key in self.queues else ()), True
        keyed = True
        table = self._tables.get(exchange)
        while table is not None:
            keyed = keyed and table.exchange.type != "headers"
            if found := table.find(routing_key, headers):
                return found, keyed
            table = self._tables.get(table.exchange.alternate or "")
        return (), keyed


class _Table:
    """The bindings of one exchange, prepared for looking up."""

    __slots__ = ("_bindings", "_direct", "_fanout", "_topic", "exchange")

    def __init__(self, exchange: Exchange, bindings: Sequence[Binding]) -> None:
        self.exchange = exchange
        self._bindings = bindings
        self._fanout = _unique(binding.queue for binding in bindings)
        self._topic = [(key_words(binding.key), binding.queue) for binding in bindings]
        direct: dict[str, list[str]] = {}
        for binding in bindings:
            direct.setdefault(binding.key, []).append(binding.queue)
        self._direct = {key: _unique(queues) for key, queues in direct.items()}

    def find(self, routing_key: str, headers: Mapping[str, Any]) -> tuple[str, ...]:
        match self.exchange.type:
            case "direct":
                return self._direct.get(routing_key, ())
            case "fanout":
                return self._fanout
            case "topic":
                words = key_words(routing_key)
                return _unique(queue for key, queue in self._topic if topic_matches(key, words))
            case "headers":
                return _unique(
                    binding.queue
                    for binding in self._bindings
                    if headers_match(binding.arguments, headers)
                )


def _unique(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
