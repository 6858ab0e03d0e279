"""Charts of the benchmarks and drills as SVG: bars with spreads, lines, time. Pure."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Protocol

_WIDTH = 840
_LABEL = 380
_ROW = 30
_TOP = 54
_NAMES = 96
_GAP = 34
_FAULT = "#c0262d"
_OURS = "#0b7285"
_THEIRS = "#94a3b8"
_COLOURS = (_OURS, "#e8590c", "#5f3dc4", "#2b8a3e", "#868e96", "#c2255c")
_STYLE = (
    "<style>text{font:13px system-ui,sans-serif;fill:#1f2937}.t{font-size:16px;font-weight:600}"
    ".n{fill:#6b7280;font-size:12px}.g{stroke:#d1d5db}.s{stroke:#1f2937;stroke-width:1.5}"
    ".b{fill:#fff}@media(prefers-color-scheme:dark){text{fill:#e5e7eb}.n{fill:#9ca3af}"
    ".g{stroke:#374151}.s{stroke:#e5e7eb}.b{fill:#0d1117}}</style>"
)


class Spread(Protocol):
    """A number that was measured in several rounds."""

    @property
    def median(self) -> float:
        """Of the rounds."""

    @property
    def low(self) -> float:
        """The lowest round."""

    @property
    def high(self) -> float:
        """The highest round."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One contestant."""

    label: str
    figure: Spread
    ours: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """One series: its points from left to right."""

    label: str
    points: Sequence[tuple[float, Spread]]


def bars(title: str, note: str, entries: Sequence[Bar], digits: int = 0) -> str:
    """Draw horizontal bars; a thin line leads from the lowest to the highest round."""
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
    """Draw lines over a logarithmic x; upright strokes show the spread."""
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


@dataclass(frozen=True, slots=True)
class Panel:
    """One pair of axes over a common time: what its numbers are, and its series."""

    unit: str
    series: Sequence[tuple[str, Sequence[tuple[float, float]]]]
    """Label, and points: seconds, number."""


@dataclass(frozen=True, slots=True)
class Band:
    """A stretch of time that all panels mark."""

    label: str
    begin_s: float
    end_s: float


def over_time(
    title: str, note: str, panels: Sequence[Panel], bands: Sequence[Band] = (), *, height: int = 260
) -> str:
    """Draw lines over seconds, from zero, in panels below one another.

    Args:
        title: Of the picture.
        note: Below the title.
        panels: From top to bottom; they share the seconds.
        bands: Marked in each panel, named above the first.
        height: Of a panel.
    """
    left, right = 90, _WIDTH - 180
    first = _TOP + (_NAMES if bands else 0)
    latest = max((x for one in panels for _, points in one.series for x, _ in points), default=0)
    latest = latest or 1.0
    last = first + len(panels) * (height + _GAP) - _GAP

    def across(seconds: float) -> float:
        return left + (right - left) * seconds / latest

    parts = []
    for band in bands:
        x, width = across(band.begin_s), max(1.5, across(band.end_s) - across(band.begin_s))
        parts += [
            (
                f'<rect x="{x:.1f}" y="{first}" width="{width:.1f}" height="{last - first}" '
                f'fill="{_FAULT}" fill-opacity="0.13"/>'
            ),
            (
                f'<text class="n" transform="translate({x + 4:.1f},{first - 6}) rotate(-55)" '
                f'style="font-size:9px">{escape(band.label)}</text>'
            ),
        ]
    for place, panel in enumerate(panels):
        floor = first + place * (height + _GAP) + height
        parts += _panel(panel, across, floor, height)
    parts += [
        f'<text class="n" x="{across(latest * step / 4):.1f}" y="{last + 18}" '
        f'text-anchor="middle">{latest * step / 4:,.0f} s</text>'
        for step in range(5)
    ]
    return _document(title, note, last + 32, parts)


def _panel(
    panel: Panel, across: Callable[[float], float], floor: int, height: int
) -> Iterable[str]:
    """Draw one panel that stands on `floor`: its grid, its lines, its legend."""
    top = _round_up(max((y for _, points in panel.series for _, y in points), default=1.0))
    left, right = across(0), _WIDTH - 180
    for step in range(5):
        y = floor - height * step / 4
        yield f'<path class="g" d="M{left} {y:.1f}H{right}"/>'
        yield (
            f'<text class="n" x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">'
            f"{top * step / 4:,.0f}</text>"
        )
    if panel.unit:
        y = floor - height + 14
        yield f'<text class="n" x="{right + 16}" y="{y - 18}">{escape(panel.unit)}</text>'
    for number, (label, points) in enumerate(panel.series):
        colour = _COLOURS[number % len(_COLOURS)]
        route = " ".join(f"{across(x):.1f},{floor - height * y / top:.1f}" for x, y in points)
        y = floor - height + 14 + number * 22
        yield f'<polyline points="{route}" fill="none" stroke="{colour}" stroke-width="2"/>'
        yield f'<rect x="{right + 16}" y="{y - 9}" width="10" height="10" fill="{colour}"/>'
        yield f'<text x="{right + 32}" y="{y}">{escape(label)}</text>'


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
