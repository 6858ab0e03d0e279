"""A layout as a Mermaid flowchart, which GitHub draws."""

from collections.abc import Iterator
from html import escape

from penstock.wire.names import BROADCAST_EXCHANGE, DEAD_EXCHANGE, OUTCOMES_QUEUE, UNROUTED_QUEUE
from topology.entities import UNBINDABLE_EXCHANGES, Exchange
from topology.model import Topology

_SHAPES = {
    "direct": ("[", "]"),
    "topic": ("{{", "}}"),
    "fanout": ("[[", "]]"),
    "headers": ("[/", "/]"),
}


def mermaid(topology: Topology) -> str:
    """Draw exchanges, bindings, queues and where dead letters go.

    The 28 delay levels are one node: they lead to every queue.
    """
    return "\n".join(_lines(topology)) + "\n"


def _lines(topology: Topology) -> Iterator[str]:
    yield "flowchart LR"
    for exchange in _drawn(topology):
        left, right = _SHAPES[exchange.type]
        label = f"{_text(exchange.name)}<br/><i>{exchange.type}</i>"
        yield f'    x_{_id(exchange.name)}{left}"{label}"{right}'
    for queue in topology.queues.values():
        kind = f"{queue.type}, {queue.shards} shards" if queue.shards else queue.type
        yield f'    q_{_id(queue.name)}[("{_text(queue.name)}<br/><i>{kind}</i>")]'
    for binding in topology.bindings:
        arguments = ", ".join(f"{name}={value}" for name, value in binding.arguments.items())
        label = _text(binding.key or arguments)
        edge = f'-- "{label}" -->' if label else "-->"
        yield f"    x_{_id(binding.exchange)} {edge} q_{_id(binding.queue)}"
    yield f"    x_{BROADCAST_EXCHANGE} --> workers"
    yield '    workers[("broadcast.&lt;host&gt;<br/><i>each worker</i>")]'
    for exchange in _drawn(topology):
        if exchange.alternate:
            yield f'    x_{_id(exchange.name)} -. "no match" .-> x_{_id(exchange.alternate)}'
    yield '    delays[/"penstock_delay_27 … 0<br/><i>2ⁿ seconds each</i>"\\] --> delivery'
    yield '    delivery{{"penstock_delivery<br/><i>topic</i>"}} -. "every binding" .-> queues'
    yield f'    delivery -. "no match" .-> unrouted[("{UNROUTED_QUEUE}")]'
    yield '    queues(["all queues"]) -. "rejected, expired" .-> dead'
    yield f'    dead["{DEAD_EXCHANGE}<br/><i>direct</i>"] --> letters[("&lt;queue&gt;.dead")]'
    yield f'    dead --> outcomes[("{OUTCOMES_QUEUE}")]'
    yield "    unrouted ~~~ outcomes"


def _drawn(topology: Topology) -> list[Exchange]:
    return [e for e in topology.exchanges.values() if e.name not in UNBINDABLE_EXCHANGES]


def _id(name: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() else f"_{ord(c):x}_" for c in name)


def _text(label: str) -> str:
    """Return a label between quotes as Mermaid draws it.

    Source: Mermaid's `encodeEntities`: an entity of its own is `#35;`, without the `&` of HTML.
    """
    return escape(label, quote=False).replace("#", "#35;").replace('"', "#quot;")
