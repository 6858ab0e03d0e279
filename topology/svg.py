"""A layout as a hand-laid-out SVG: exchanges, queues and dead letters in three columns.

Every number here is a length in pixels. The delay levels are a strip below: they lead to every
binding above, and drawing 28 times each would show nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

from penstock.wire.delay import DELIVERY_EXCHANGE, LEVELS
from penstock.wire.names import BROADCAST_EXCHANGE, OUTCOMES_QUEUE, UNROUTED_QUEUE
from topology.entities import UNBINDABLE_EXCHANGES, Binding
from topology.model import Topology

MARGIN = 28
TOP = 76
ROW = 30
GAP = 16
LETTER = 7.3
"""Advance of one character at 12 px, monospaced, rounded up."""
EDGE = 210
"""Room for the lines between exchanges and queues."""
STRIP = 150
WORKERS = "broadcast.<host>"

STYLE = """
    svg { font: 12px ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace; }
    .paper { fill: #fff } text { fill: #1f2933 } .soft { fill: #66788a }
    .head { font-weight: 600; letter-spacing: .06em; fill: #66788a }
    .box { fill: #f4f6f8; stroke: #9aa9b8 } .direct { fill: #dcebfa; stroke: #3d7ebf }
    .topic { fill: #e0f3e4; stroke: #3f9a56 } .fanout { fill: #fdebd3; stroke: #cc8529 }
    .headers { fill: #eee3f8; stroke: #8456b8 } .dead { fill: #fae1e1; stroke: #c05555 }
    .line { fill: none; stroke: #7b8c9d; stroke-width: 1.3 } .dash { stroke-dasharray: 4 4 }
    .halo { paint-order: stroke; stroke: #fff; stroke-width: 5px; stroke-linejoin: round }
    @media (prefers-color-scheme: dark) {
      .paper { fill: #12181f } text { fill: #dde5ec } .soft, .head { fill: #93a4b5 }
      .box { fill: #1d2630 } .direct { fill: #17304a } .topic { fill: #16351f }
      .fanout { fill: #43301a } .headers { fill: #332247 } .dead { fill: #431f1f }
      .halo { stroke: #12181f }
    }
"""

TIP = """\
<defs>
  <marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7"
          orient="auto"><path d="M0 0 8 4 0 8z" fill="#7b8c9d"/></marker>
</defs>"""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle with a name and a remark on one line each, or side by side when it is low."""

    x: float
    y: float
    width: float
    height: float
    name: str
    remark: str
    kind: str

    @property
    def right(self) -> float:
        """The x of its right edge."""
        return self.x + self.width

    @property
    def middle(self) -> float:
        """The y of its middle."""
        return self.y + self.height / 2


def boxes(topology: Topology) -> dict[str, Box]:
    """Place every box; keys are ``x:`` exchange, ``q:`` queue or ``d:`` dead-letter queue names."""
    placed: dict[str, Box] = {}
    exchanges = [e for e in topology.exchanges.values() if e.name not in UNBINDABLE_EXCHANGES]
    queues = {queue.name: queue for queue in topology.queues.values()}
    x_width = _width([(e.name, e.type) for e in exchanges])
    remarks = [(name, _remark(topology, name)) for name in queues]
    q_width = _width([*remarks, (WORKERS, "one per worker")])
    q_left = MARGIN + x_width + EDGE
    y = float(TOP)
    for name in (*queues, WORKERS):
        height = ROW * max(1, len(_bindings(topology, name)))
        remark = _remark(topology, name) if name in queues else "one per worker"
        placed[f"q:{name}"] = Box(q_left, y, q_width, height, name, remark, "box")
        y += height + GAP
    bottom = y - GAP
    # Each exchange stands at the mean of its queues, then as far down as the one above demands.
    centres = {}
    for exchange in exchanges:
        bound = [b.queue for b in topology.bindings if b.exchange == exchange.name]
        if exchange.name == BROADCAST_EXCHANGE:
            bound.append(WORKERS)
        own = [placed[f"q:{queue}"].middle for queue in bound]
        centres[exchange.name] = sum(own) / len(own) if own else bottom
    free = float(TOP)
    for exchange in sorted(exchanges, key=lambda e: centres[e.name]):
        y = max(free, centres[exchange.name] - ROW)
        placed[f"x:{exchange.name}"] = Box(
            MARGIN, y, x_width, 2 * ROW, exchange.name, exchange.type, exchange.type
        )
        free = y + 2 * ROW + GAP
    letters = [q for q in queues.values() if q.dead_letter]
    d_left = q_left + q_width + 90
    d_width = _width([*((topology.dead_queue(q.name), "") for q in letters), (OUTCOMES_QUEUE, "")])
    for queue in letters:
        beside = placed[f"q:{queue.name}"]
        name = topology.dead_queue(queue.name)
        placed[f"d:{name}"] = Box(d_left, beside.middle - ROW / 2, d_width, ROW, name, "", "dead")
    return placed


def svg(topology: Topology) -> str:
    """Draw a layout.

    Returns:
        A complete SVG document that follows the reader's light or dark scheme.
    """
    placed = boxes(topology)
    width = max(max(box.right for box in placed.values()) + 200, 980)
    strip_top = max(box.y + box.height for box in placed.values()) + 44
    height = strip_top + STRIP
    size = f'width="{width:.0f}" height="{height:.0f}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" {size}',
        'role="img" aria-label="Exchanges, queues and dead letters">',
        f"<style>{STYLE}</style>",
        TIP,
        f'<rect class="paper" {size}/>',
        *_heads(placed),
        *_edges(topology, placed),
        *_dead_letters(topology, placed),
        *(part for box in placed.values() for part in _box(box)),
        *_strip(strip_top, width),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _heads(placed: dict[str, Box]) -> Iterator[str]:
    for prefix, head in (("x:", "EXCHANGES"), ("q:", "QUEUES"), ("d:", "DEAD LETTERS")):
        column = [box for key, box in placed.items() if key.startswith(prefix)]
        if column:
            yield f'<text class="head" x="{column[0].x}" y="{TOP - 28}">{head}</text>'


def _edges(topology: Topology, placed: dict[str, Box]) -> Iterator[str]:
    for name in (*topology.queues, WORKERS):
        target = placed[f"q:{name}"]
        bindings = _bindings(topology, name)
        for place, binding in enumerate(bindings):
            y = target.y + target.height * (place + 0.5) / len(bindings)
            source = placed[f"x:{binding.exchange}"]
            label = binding.key or ", ".join(f"{k}={v}" for k, v in binding.arguments.items())
            yield _curve(source.right, source.middle, target.x, y)
            yield _text(target.x - 14, y - 5, label, "halo", "end")
    for exchange in topology.exchanges.values():
        if exchange.alternate and f"x:{exchange.alternate}" in placed:
            here, there = placed[f"x:{exchange.name}"], placed[f"x:{exchange.alternate}"]
            yield (
                f'<path class="line dash" marker-end="url(#tip)" d="M{here.x} {here.middle:.1f}'
                f"C{here.x - 20} {here.middle:.1f} {here.x - 20} {there.middle:.1f} "
                f'{there.x} {there.middle:.1f}"/>'
            )


def _dead_letters(topology: Topology, placed: dict[str, Box]) -> Iterator[str]:
    letters = [box for key, box in placed.items() if key.startswith("d:")]
    if not letters:
        return
    for queue in topology.queues.values():
        if queue.dead_letter:
            source, target = placed[f"q:{queue.name}"], placed[f"d:{queue.name}.dead"]
            yield _curve(source.right, source.middle, target.x, target.middle, "dash")
    x, top, low = letters[0].right + 18, letters[0].y, letters[-1].y + ROW
    middle = (top + low) / 2
    yield (
        f'<path class="line" d="M{x - 8} {top}q8 0 8 8V{middle - 8}q0 8 8 8q-8 0-8 8V{low - 8}'
        'q0 8-8 8"/>'
    )
    yield _text(x + 16, middle - 4, OUTCOMES_QUEUE)
    yield _text(x + 16, middle + 14, "gets each once more", "soft")


def _strip(top: float, width: float) -> Iterator[str]:
    yield f'<text class="head" x="{MARGIN}" y="{top}">DELAYS</text>'
    step = (width - 2 * MARGIN - 300) / LEVELS
    for place, level in enumerate(reversed(range(LEVELS))):
        x = MARGIN + place * step
        yield (
            f'<rect class="topic" x="{x:.1f}" y="{top + 16:.1f}" width="{step - 4:.1f}" '
            'height="26" rx="3"/>'
        )
        yield _text(x + (step - 4) / 2, top + 33, str(level), "", "middle")
    end = MARGIN + LEVELS * step
    yield _curve(end - 2, top + 29, end + 36, top + 29)
    delivery = Box(end + 36, top + 12, 264, 34, DELIVERY_EXCHANGE, "topic", "topic")
    yield from _box(delivery)
    yield _text(
        MARGIN, top + 64, "level n holds a message 2ⁿ s when its bit is 1; bits of the delay "
        "stand in front of the routing key", "soft",
    )  # fmt: skip
    yield _text(delivery.x, top + 64, "→ every binding above", "soft")
    yield _text(delivery.x, top + 82, f"no match → {UNROUTED_QUEUE}", "soft")


def _box(box: Box) -> Iterator[str]:
    yield (
        f'<rect class="{box.kind}" x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" '
        f'height="{box.height:.1f}" rx="6"/>'
    )
    if box.height > 1.5 * ROW and box.kind != "box":
        yield _text(box.x + 12, box.middle - 4, box.name)
        yield _text(box.x + 12, box.middle + 14, box.remark, "soft")
    else:
        yield _text(box.x + 12, box.middle + 4, box.name)
        yield _text(box.right - 12, box.middle + 4, box.remark, "soft", "end")


def _curve(x1: float, y1: float, x2: float, y2: float, style: str = "") -> str:
    bend = (x2 - x1) * 0.45
    return (
        f'<path class="line {style}" marker-end="url(#tip)" d="M{x1:.1f} {y1:.1f}'
        f'C{x1 + bend:.1f} {y1:.1f} {x2 - bend * 1.2:.1f} {y2:.1f} {x2:.1f} {y2:.1f}"/>'
    )


def _text(x: float, y: float, text: str, style: str = "", anchor: str = "start") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text class="{style}" {place}>{escape(text)}</text>'


def _bindings(topology: Topology, queue: str) -> list[Binding]:
    if queue == WORKERS:
        return [Binding(exchange=BROADCAST_EXCHANGE, queue=WORKERS)]
    return [binding for binding in topology.bindings if binding.queue == queue]


def _remark(topology: Topology, queue: str) -> str:
    highest = topology.queues[queue].max_priority
    return topology.queues[queue].type + (f", priority 0-{highest}" if highest else "")


def _width(texts: list[tuple[str, str]]) -> float:
    return max(len(name) + len(remark) for name, remark in texts) * LETTER + 52
