"""The timeline as an SVG: rates over time, faults marked, memory of the gateways."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from devstack.drill.director import Episode
from devstack.drill.timeline import Timeline

_WIDTH, _PANEL, _GAP, _LEFT, _TOP = 1200, 120, 34, 70, 150
_PANELS = (
    ("tasks/s", (("tasks accepted", "#1668b8"), ("executed", "#2a9d4a"),
                 ("tasks refused", "#d08700"), ("tasks unknown", "#c0262d"))),
    ("documents/s", (("documents accepted", "#1668b8"), ("documents stored", "#2a9d4a"),
                     ("documents refused", "#d08700"), ("documents unknown", "#c0262d"))),
)  # fmt: skip
_RSS_COLOURS = ("#6b3fa0", "#b8860b")


def write_svg(path: Path, timeline: Timeline, episodes: Sequence[Episode], ended: float) -> None:
    """Draw the timeline to a file."""
    seconds = max(1, int(ended - timeline.began) + 1)
    height = _TOP + (len(_PANELS) + 1) * (_PANEL + _GAP)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        'font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="white"/>'
    )
    parts = [head]
    scale = (_WIDTH - _LEFT - 20) / seconds
    parts += [_band(episode, timeline.began, scale, height) for episode in episodes]
    top = _TOP
    for title, series in _PANELS:
        rates = [(name, colour, timeline.rates(name, seconds)) for name, colour in series]
        lines = [(name, colour, list(enumerate(values))) for name, colour, values in rates]
        parts.append(_panel(title, lines, top, scale))
        top += _PANEL + _GAP
    memory = [
        (name, colour, [(at - timeline.began, mib) for at, mib in samples])
        for (name, samples), colour in zip(timeline.rss_mib.items(), _RSS_COLOURS, strict=False)
    ]
    parts.append(_panel("MiB resident", memory, top, scale))
    step = max(10, seconds // 12 // 10 * 10)
    parts += [
        f'<text x="{_LEFT + second * scale:.0f}" y="{height - 8}" fill="#555">{second} s</text>'
        for second in range(0, seconds, step)
    ]
    path.write_text("\n".join([*parts, "</svg>"]) + "\n", encoding="utf-8")


def _band(episode: Episode, began: float, scale: float, height: int) -> str:
    x = _LEFT + (episode.began - began) * scale
    width = max(1.5, (episode.healed - episode.began) * scale)
    return (
        f'<rect x="{x:.1f}" y="{_TOP}" width="{width:.1f}" height="{height - _TOP - 24}" '
        'fill="#c0262d" fill-opacity="0.13"/>'
        f'<text transform="translate({x + 4:.1f},{_TOP - 6}) rotate(-55)" font-size="9">'
        f"{escape(episode.title)}</text>"
    )


def _panel(
    title: str, lines: Sequence[tuple[str, str, Sequence[tuple[float, float]]]], top: int,
    scale: float,
) -> str:  # fmt: skip
    most = max((value for _, _, points in lines for _, value in points), default=0) or 1
    floor = top + _PANEL
    axis = (
        f'<line x1="{_LEFT}" y1="{floor}" x2="{_WIDTH - 20}" y2="{floor}" stroke="#999"/>'
        f'<text x="8" y="{top + 10}">{most:,.0f}</text><text x="8" y="{top + 24}">{title}</text>'
        f'<text x="8" y="{floor}">0</text>'
    )
    parts = [axis]
    for place, (name, colour, points) in enumerate(lines):
        path = " ".join(
            f"{_LEFT + at * scale:.1f},{floor - value / most * _PANEL:.1f}" for at, value in points
        )
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}"/>'
            f'<text x="{_LEFT + 8 + place * 160}" y="{floor + 14}" fill="{colour}">{name}</text>'
        )
    return "\n".join(parts)
