"""Charts as SVG, written by hand: bars with spreads, and lines. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from bench.figures import Figure

_WIDTH = 840
_LABEL = 380
_ROW = 30
_TOP = 54
_OURS = "#0b7285"
_THEIRS = "#94a3b8"
_COLOURS = (_OURS, "#e8590c", "#5f3dc4", "#2b8a3e", "#868e96", "#c2255c")
_STYLE = (
    "<style>text{font:13px system-ui,sans-serif;fill:#1f2937}.t{font-size:16px;font-weight:600}"
    ".n{fill:#6b7280;font-size:12px}.g{stroke:#d1d5db}.s{stroke:#1f2937;stroke-width:1.5}"
    ".b{fill:#fff}@media(prefers-color-scheme:dark){text{fill:#e5e7eb}.n{fill:#9ca3af}"
    ".g{stroke:#374151}.s{stroke:#e5e7eb}.b{fill:#0d1117}}</style>"
)


@dataclass(frozen=True, slots=True)
class Bar:
    """One contestant."""

    label: str
    figure: Figure
    ours: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """One series: its points from left to right."""

    label: str
    points: Sequence[tuple[float, Figure]]


def bars(title: str, note: str, entries: Sequence[Bar], digits: int = 0) -> str:
    """Horizontal bars; a thin line tells the lowest and the highest round."""
    top = max(entry.figure.high for entry in entries)
    scale = (_WIDTH - _LABEL - 90) / top
    parts = []
    for number, entry in enumerate(entries):
        y = _TOP + number * _ROW
        figure = entry.figure
        width = max(1.0, figure.median * scale)
        low, high = (_LABEL + value * scale for value in (figure.low, figure.high))
        colour = _OURS if entry.ours else _THEIRS
        parts += [
            f'<text x="{_LABEL - 10}" y="{y + 15}" text-anchor="end">{escape(entry.label)}</text>',
            (
                f'<rect x="{_LABEL}" y="{y + 2}" width="{width:.1f}" height="18" rx="2" '
                f'fill="{colour}"/>'
            ),
            f'<path class="s" d="M{low:.1f} {y + 11}H{high:.1f}"/>',
            (
                f'<text x="{max(high, _LABEL + width) + 8:.1f}" y="{y + 15}">'
                f"{figure.median:,.{digits}f}</text>"
            ),
        ]
    return _document(title, note, _TOP + len(entries) * _ROW + 12, parts)


def lines(title: str, note: str, x_label: str, series: Sequence[Line], digits: int = 0) -> str:
    """Lines over a logarithmic x; upright strokes tell the spread."""
    left, height = 90, 300
    right, bottom = _WIDTH - 170, _TOP + height
    xs = sorted({x for line in series for x, _ in line.points})
    top = _round_up(max(figure.high for line in series for _, figure in line.points))
    span = math.log(xs[-1] / xs[0]) if len(xs) > 1 else 1.0

    def across(x: float) -> float:
        return left + (right - left) * (math.log(x / xs[0]) / span)

    def up(value: float) -> float:
        return bottom - height * value / top

    parts = []
    for step in range(5):
        value = top * step / 4
        parts += [
            f'<path class="g" d="M{left} {up(value):.1f}H{right}"/>',
            (
                f'<text class="n" x="{left - 8}" y="{up(value) + 4:.1f}" text-anchor="end">'
                f"{value:,.{digits}f}</text>"
            ),
        ]
    for x in xs:
        parts.append(
            f'<text class="n" x="{across(x):.1f}" y="{bottom + 18}" text-anchor="middle">'
            f"{x:,g}</text>"
        )
    middle = (left + right) / 2
    parts.append(
        f'<text class="n" x="{middle}" y="{bottom + 38}" text-anchor="middle">'
        f"{escape(x_label)}</text>"
    )
    for number, line in enumerate(series):
        colour = _COLOURS[number % len(_COLOURS)]
        route = " L".join(f"{across(x):.1f} {up(f.median):.1f}" for x, f in line.points)
        parts.append(f'<path d="M{route}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for x, figure in line.points:
            parts += [
                (
                    f'<path d="M{across(x):.1f} {up(figure.low):.1f}V{up(figure.high):.1f}" '
                    f'stroke="{colour}" stroke-width="1"/>'
                ),
                (
                    f'<circle cx="{across(x):.1f}" cy="{up(figure.median):.1f}" r="3.5" '
                    f'fill="{colour}"/>'
                ),
            ]
        y = _TOP + 14 + number * 22
        parts += [
            f'<rect x="{right + 16}" y="{y - 9}" width="10" height="10" fill="{colour}"/>',
            f'<text x="{right + 32}" y="{y}">{escape(line.label)}</text>',
        ]
    return _document(title, note, bottom + 50, parts)


def over_time(
    title: str, note: str, series: Sequence[tuple[str, Sequence[tuple[float, float]]]]
) -> str:
    """Lines over seconds, from zero."""
    left, height = 90, 260
    right, bottom = _WIDTH - 150, _TOP + height
    latest = max((x for _, points in series for x, _ in points), default=1.0) or 1.0
    top = _round_up(max((y for _, points in series for _, y in points), default=1.0))
    parts = []
    for step in range(5):
        y = bottom - height * step / 4
        x = left + (right - left) * step / 4
        parts += [
            f'<path class="g" d="M{left} {y:.1f}H{right}"/>',
            (
                f'<text class="n" x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">'
                f"{top * step / 4:,.0f}</text>"
                f'<text class="n" x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">'
                f"{latest * step / 4:,.0f} s</text>"
            ),
        ]
    for number, (label, points) in enumerate(series):
        colour = _COLOURS[number % len(_COLOURS)]
        route = " ".join(
            f"{left + (right - left) * x / latest:.1f},{bottom - height * y / top:.1f}"
            for x, y in points
        )
        y = _TOP + 14 + number * 22
        parts += [
            f'<polyline points="{route}" fill="none" stroke="{colour}" stroke-width="2"/>',
            f'<rect x="{right + 16}" y="{y - 9}" width="10" height="10" fill="{colour}"/>',
            f'<text x="{right + 32}" y="{y}">{escape(label)}</text>',
        ]
    return _document(title, note, bottom + 32, parts)


def _round_up(value: float) -> float:
    """The next number above that four grid lines divide well."""
    if value <= 0:
        return 1.0
    size: float = 10.0 ** math.floor(math.log10(value))
    return next(
        step * size for step in (1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 10) if step * size >= value
    )


def _document(title: str, note: str, height: int, parts: Sequence[str]) -> str:
    return "\n".join(
        (
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
                f'width="{_WIDTH}" height="{height}" role="img" aria-label="{escape(title)}">'
            ),
            _STYLE,
            f'<rect class="b" width="{_WIDTH}" height="{height}"/>',
            f'<text class="t" x="16" y="24">{escape(title)}</text>',
            f'<text class="n" x="16" y="42">{escape(note)}</text>',
            *parts,
            "</svg>\n",
        )
    )
