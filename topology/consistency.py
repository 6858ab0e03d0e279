"""The faults of a layout: of its parts alone, and of how they fit together."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from penstock.wire.names import BROADCAST_EXCHANGE, DEAD_SUFFIX
from topology.entities import (
    SYSTEM_EXCHANGES,
    UNBINDABLE_EXCHANGES,
    Binding,
    Exchange,
    Queue,
)
from topology.matching import key_words, topic_matches
from topology.route import Route


def find_faults(
    exchanges: Sequence[Exchange],
    queues: Sequence[Queue],
    bindings: Sequence[Binding],
    routes: Sequence[Route],
) -> Iterator[str]:
    """Yield a sentence for each fault of the parts alone and of how they fit together."""
    parts = _Parts(exchanges, queues, bindings)
    for exchange in exchanges:
        yield from parts.exchange_faults(exchange)
    yield from _alternate_cycles(exchanges)
    for queue in queues:
        yield from parts.queue_faults(queue)
    for binding in bindings:
        yield from parts.binding_faults(binding)
    for route in routes:
        yield from parts.route_faults(route)
    yield from _doubles("exchange", (exchange.name for exchange in exchanges))
    yield from _doubles("queue", (queue.name for queue in queues))
    yield from _doubles("route", (route.task for route in routes))
    yield from _doubles("binding", (_identity(binding) for binding in bindings))


class _Parts:
    """What the parts of a layout name in each other."""

    def __init__(
        self, exchanges: Sequence[Exchange], queues: Sequence[Queue], bindings: Sequence[Binding]
    ) -> None:
        self._types: dict[str, str] = dict(SYSTEM_EXCHANGES)
        self._types.update((exchange.name, exchange.type) for exchange in exchanges)
        self._apps_exchanges = {exchange.name for exchange in exchanges if not exchange.ours}
        self._apps_queues = {queue.name for queue in queues if not queue.ours}
        self._queues = {queue.name for queue in queues}
        self._dead_letters_of = {
            queue.name + DEAD_SUFFIX: queue.name for queue in queues if queue.dead_letter
        }
        self._bindings = bindings
        # Headers, workers' own queues and alternate exchanges decide where these lead.
        self._unsure = {name for name, type_ in self._types.items() if type_ == "headers"}
        self._unsure |= {"", BROADCAST_EXCHANGE} | {e.name for e in exchanges if e.alternate}
        self._unsure |= {name for name in self._apps_exchanges if self._types[name] == "fanout"}

    def exchange_faults(self, exchange: Exchange) -> Iterator[str]:
        yield from exchange.faults()
        if exchange.alternate and exchange.alternate not in self._types:
            yield f"exchange {exchange.name!r}: no exchange {exchange.alternate!r} as alternate"

    def queue_faults(self, queue: Queue) -> Iterator[str]:
        here = f"queue {queue.name!r}"
        yield from queue.faults()
        if queue.ours and queue.name.partition(".")[0] in self._types.keys() - self._apps_exchanges:
            # A delay key says "<exchange>.<key>" or "<queue>": they must differ in the first word.
            yield f"{here}: its first word is the name of an exchange"
        for shard in queue.shard_names[1:]:
            if shard in self._queues:
                yield f"queue {shard!r}: it is a shard of {queue.name!r}"
        if not queue.ours and queue.name in self._dead_letters_of:
            yield f"{here}: it keeps the dead letters of {self._dead_letters_of[queue.name]!r}"

    def binding_faults(self, binding: Binding) -> Iterator[str]:
        here = f"binding {binding.exchange!r} → {binding.queue!r}"
        if binding.exchange not in self._types:
            yield f"{here}: no such exchange"
        elif binding.exchange in UNBINDABLE_EXCHANGES:
            yield f"{here}: the bindings of this exchange are derived"
        elif binding.queue not in self._apps_queues:
            yield from binding.faults(self._types[binding.exchange])
        if binding.queue not in self._queues:
            yield f"{here}: no such queue"

    def route_faults(self, route: Route) -> Iterator[str]:
        apps = route.exchange in self._apps_exchanges or route.routing_key in self._apps_queues
        yield from route.faults(ours=not apps)
        if route.exchange and route.exchange not in self._types:
            yield f"route {route.task!r}: no exchange {route.exchange!r}"
        elif not route.exchange and route.routing_key not in self._queues:
            yield (
                f"route {route.task!r}: no queue {route.routing_key!r} on the default exchange; "
                f"one that an app declares is described by [queues.{_toml_key(route.routing_key)}] "
                'with owner = "app"'
            )
        elif route.exchange in UNBINDABLE_EXCHANGES:
            yield f"route {route.task!r}: nobody publishes to exchange {route.exchange!r}"
        elif route.exchange not in self._unsure and not self._reaches(route):
            yield f"route {route.task!r}: reaches no queue"

    def _reaches(self, route: Route) -> bool:
        exchange_type = self._types[route.exchange]
        words = key_words(route.routing_key)
        return any(
            exchange_type == "fanout"
            or binding.key == route.routing_key
            or (exchange_type == "topic" and topic_matches(key_words(binding.key), words))
            for binding in self._bindings
            if binding.exchange == route.exchange
        )


def _toml_key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else f'"{name}"'


def _alternate_cycles(exchanges: Sequence[Exchange]) -> Iterator[str]:
    alternates = {exchange.name: exchange.alternate for exchange in exchanges}
    for start in alternates:
        seen: list[str] = []
        name: str | None = start
        while name is not None and name not in seen:
            seen.append(name)
            name = alternates.get(name)
        if name == start == min(seen) and len(seen) > 1:
            yield f"exchanges {' → '.join([*seen, start])}: alternate exchanges in a circle"


def _doubles(what: str, names: Iterable[str]) -> Iterator[str]:
    for name, count in Counter(names).items():
        if count > 1:
            yield f"{what} {name!r} is there {count} times"


def _identity(binding: Binding) -> str:
    arguments = "".join(f" {name}={binding.arguments[name]}" for name in sorted(binding.arguments))
    return f"{binding.exchange} → {binding.queue} {binding.key}{arguments}".rstrip()
