"""The timeline of a drill as a chart: rates, faults marked, memory of the gateways."""

from collections.abc import Sequence

from devstack.chart import Band, Panel, over_time
from devstack.drill.director import Episode
from devstack.drill.timeline import Timeline

_RATES = {
    "tasks/s": ("tasks accepted", "executed", "tasks refused", "tasks unknown"),
    "documents/s": (
        "documents accepted",
        "documents stored",
        "documents refused",
        "documents unknown",
    ),
}


def draw(timeline: Timeline, episodes: Sequence[Episode], ended: float) -> str:
    """Draw a timeline as an SVG.

    Args:
        timeline: What happened when.
        episodes: The faults.
        ended: Unix time.
    """
    began = timeline.began
    seconds = max(1, int(ended - began) + 1)
    panels = [
        Panel(unit, [(name, list(enumerate(timeline.rates(name, seconds)))) for name in names])
        for unit, names in _RATES.items()
    ]
    memory = [
        (name, [(at - began, mib) for at, mib in samples])
        for name, samples in timeline.rss_mib.items()
    ]
    bands = [Band(one.title, one.began - began, one.healed - began) for one in episodes]
    note = f"{len(episodes)} faults; what each gateway holds in memory at the bottom"
    return over_time("A drill", note, [*panels, Panel("MiB", memory)], bands, height=130)
