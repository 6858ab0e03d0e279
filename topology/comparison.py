"""A layout against a live broker: what is missing, what differs, what is there besides. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from penstock.wire.delay import LEVELS, level_name
from penstock.wire.names import (
    BROADCAST_QUEUE_PREFIX,
    DEAD_EXCHANGE,
    HISTORY_EVENTS_QUEUE,
    SHARDS_PREFIX,
)
from topology.declarations import BindingDeclaration, Declarations, describe
from topology.errors import Conflict
from topology.management import Live

_EXCHANGE = {"durable": True, "auto_delete": False, "internal": False}
_PRIVATE = (BROADCAST_QUEUE_PREFIX, "celeryev.", "amq.gen-", "bcast.", HISTORY_EVENTS_QUEUE)
_PIDBOX = ".celery.pidbox"
"""How queues are named that a process makes for itself."""
_QUEUE = {"durable": True, "exclusive": False, "auto_delete": False}


def missing(plan: Declarations, live: Live) -> Iterator[str]:
    """Name what the layout wants and the broker lacks; `topology apply` makes it."""
    for exchange in plan.exchanges:
        if exchange.name not in live.exchanges:
            yield f"exchange {exchange.name!r}"
    for queue in plan.queues:
        if queue.name not in live.queues:
            yield f"queue {queue.name!r}"
    there = {_identity(binding) for binding in live.bindings}
    for binding in plan.bindings:
        if binding.required and _identity(binding) not in there:
            yield describe(binding)


def conflicts(plan: Declarations, live: Live) -> Iterator[Conflict]:
    """Name every argument of a live exchange or queue that differs; RabbitMQ cannot change it."""
    for exchange in plan.exchanges:
        if exchange.name in live.exchanges:
            wanted = {"type": exchange.type} | _EXCHANGE | dict(exchange.arguments)
            yield from _differ("exchange", exchange.name, wanted, live.exchanges[exchange.name])
    for queue in plan.queues:
        if queue.name in live.queues:
            wanted = _QUEUE | dict(queue.arguments)
            yield from _differ("queue", queue.name, wanted, live.queues[queue.name])


def surplus(plan: Declarations, live: Live) -> Iterator[BindingDeclaration]:
    """Find bindings between entities of the layout that the layout does not have.

    Through these, messages reach queues that `Topology.match` does not know of: a binding key that
    was changed in the file, or what another program bound. A queue that left the layout and still
    exists keeps its way to the outcomes: it is being drained, and its dead letters must be told.
    """
    names = {exchange.name for exchange in plan.exchanges} | {queue.name for queue in plan.queues}
    wanted = {_identity(binding) for binding in plan.bindings}
    for binding in live.bindings:
        inside = binding.source in names and binding.destination in names
        # Of shards that the layout had before, too.
        inside = inside or any(end.startswith(SHARDS_PREFIX) for end in _ends(binding))
        draining = binding.source == DEAD_EXCHANGE and binding.key in live.queues
        if inside and not draining and _identity(binding) not in wanted:
            yield binding


def misdescribed(apps: Declarations, live: Live) -> Iterator[str]:
    """Name what an app has declared otherwise than the layout describes it.

    Args:
        apps: from `plan.of_apps`.
        live: the broker.
    """
    for exchange in apps.exchanges:
        type_ = live.exchanges.get(exchange.name, {}).get("type", exchange.type)
        if type_ != exchange.type:
            yield (
                f"exchange {exchange.name!r} is {type_} on the broker, the layout describes it as "
                f"{exchange.type}"
            )


def foreign(plan: Declarations, apps: Declarations, live: Live) -> Iterator[str]:
    """Name what the layout does not have: queues, and what is bound to its exchanges.

    That is no fault, but good to know: `celery control add_consumer` makes a queue, for instance.
    What each worker and each client of Celery makes for itself is expected and left out.
    """
    exchanges = {exchange.name for exchange in plan.exchanges}
    own = exchanges | {queue.name for queue in plan.queues}
    named = own | {queue.name for queue in apps.queues}
    for name, queue in live.queues.items():
        if name not in named and not is_private(name, queue):
            yield f"queue {name!r}"
    known = {_identity(binding) for binding in (*plan.bindings, *apps.bindings)}
    for binding in live.bindings:
        expected = binding.destination.startswith(BROADCAST_QUEUE_PREFIX)
        outside = binding.source in exchanges and binding.destination not in own
        if outside and not expected and _identity(binding) not in known:
            yield describe(binding)


def is_private(name: str, queue: Mapping[str, Any]) -> bool:
    """Tell whether a worker, a client of Celery or history has made a queue for itself.

    Args:
        name: of the queue.
        queue: as it is live.
    """
    return name.startswith(_PRIVATE) or name.endswith(_PIDBOX) or queue.get("exclusive") is True


def waiting(live: Live) -> dict[str, int]:
    """Count the messages of each delay level that has any, shortest delay first."""
    depths = {level_name(n): live.depths.get(level_name(n), 0) for n in range(LEVELS)}
    return {name: depth for name, depth in depths.items() if depth}


def _differ(
    kind: str, name: str, wanted: Mapping[str, Any], live: Mapping[str, Any]
) -> Iterator[Conflict]:
    for argument in dict.fromkeys((*wanted, *live)):
        if wanted.get(argument) != live.get(argument):
            yield Conflict(
                kind=kind,
                name=name,
                argument=argument,
                wanted=_plain(wanted.get(argument)),
                live=_plain(live.get(argument)),
            )


def _ends(binding: BindingDeclaration) -> tuple[str, str]:
    return binding.source, binding.destination


def _plain(value: Any) -> str:
    """Print a value as RabbitMQ does in a 406, so that both ways of comparing read alike."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    return str(value)


def _identity(binding: BindingDeclaration) -> tuple[Any, ...]:
    arguments = frozenset((name, str(value)) for name, value in binding.arguments.items())
    return binding.source, binding.destination_type, binding.destination, binding.key, arguments
