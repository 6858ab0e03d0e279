"""A layout as text for a terminal."""

from collections.abc import Iterable, Iterator, Sequence

from penstock.wire.names import OUTCOMES_QUEUE, UNROUTED_QUEUE
from topology.declarations import Declarations
from topology.model import Topology
from topology.plan import declarations


def show(topology: Topology) -> str:
    """Write the layout as tables: exchanges, queues, bindings, routes, and what follows."""
    plan = declarations(topology)
    sections = (
        (
            "EXCHANGES",
            [
                (
                    exchange.name,
                    exchange.type,
                    "publishable" if exchange.publishable else "",
                    "" if exchange.ours else "an app's",
                    f"no match → {exchange.arguments['alternate-exchange']}"
                    if exchange.arguments
                    else "",
                )
                for exchange in topology.exchanges.values()
            ],
        ),
        (
            "QUEUES",
            [
                (
                    queue.name,
                    queue.type,
                    f"429 from {queue.limit:,}",
                    f"{queue.shards} shards by {topology.shard_by(queue.name)}"
                    if queue.shards is not None
                    else "",
                    _more(queue.arguments) if queue.ours else "an app's",
                )
                for queue in topology.queues.values()
            ],
        ),
        (
            "BINDINGS",
            [
                (
                    binding.exchange,
                    binding.key
                    or ", ".join(f"{key}={value}" for key, value in binding.arguments.items()),
                    f"→ {binding.queue}",
                )
                for binding in topology.bindings
            ],
        ),
        (
            "ROUTES",
            [
                (
                    route.task,
                    f"{route.exchange or '(default exchange)'} {route.routing_key}",
                    f"→ {', '.join(topology.match(route.exchange, route.routing_key)) or '?'}",
                    "privileged" if route.privileged else "",
                )
                for route in topology.routes
            ],
        ),
        (
            "DERIVED",
            [
                ("<queue>.dead", f"dead letters of each queue; {OUTCOMES_QUEUE} gets each too"),
                ("penstock_delay_27 … 0", "delay levels; penstock_delivery delivers"),
                (UNROUTED_QUEUE, "delayed messages whose destination is gone"),
                ("in all", summary(plan)),
            ],
        ),
    )
    return "\n".join(line for head, rows in sections for line in (head, *_columns(rows), ""))


def summary(plan: Declarations) -> str:
    """Count the declarations."""
    counts = len(plan.exchanges), len(plan.queues), len(plan.bindings)
    return "{} exchanges, {} queues, {} bindings".format(*counts)


def _more(arguments: dict[str, object]) -> str:
    shown = ("x-delivery-limit", "x-max-priority", "x-message-ttl", "x-max-length", "x-overflow")
    return "  ".join(f"{name}={arguments[name]}" for name in shown if name in arguments)


def _columns(rows: Sequence[Iterable[str]]) -> Iterator[str]:
    table = [tuple(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield f"  {'  '.join(cells)}".rstrip()
