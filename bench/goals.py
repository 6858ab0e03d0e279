"""What the gateway must reach, as ratios within one run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench.figures import Figure, difference, paired
from bench.rounds import Sample, Samples


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """One line of the scoreboard."""

    what: str
    least: float | None = None
    """The median must not be below it."""
    most: float | None = None
    """The median must not be above it."""
    aim: float
    unit: str
    measured: Figure | None = None

    @property
    def reached(self) -> bool | None:
        """Whether it is; None when it was not measured."""
        if self.measured is None:
            return None
        if self.least is not None:
            return self.measured.median >= self.least
        return self.most is None or self.measured.median <= self.most

    @property
    def bound(self) -> str:
        """What is wanted, for a table."""
        bound = f"≥ {self.least:g}" if self.least is not None else f"≤ {self.most:g}"
        return f"{bound} {self.unit}"

    @property
    def told(self) -> str:
        """What was measured, for a table."""
        if self.measured is None:
            return "–"
        return self.measured.told(0 if abs(self.measured.median) >= 100 else 2)


def submit_goals(samples: Samples) -> list[Goal]:
    """The goals of submits, as far as their contestants were in this run."""
    goals = [
        Goal(
            what="CPU of a submit above the bare handler's",
            most=35,
            aim=25,
            unit="µs",
            measured=_compare(samples, "bare", difference, lambda sample: sample.cpu_us),
        )
    ]
    for rival, title, least, aim in (
        ("bare", "the bare handler", 0.5, 0.6),
        ("exchange-publish", "the same handler on Exchange.publish", 3.0, 3.0),
        ("fastapi-delay", "FastAPI + .delay() (def, confirmed)", 8.0, 8.0),
        ("flower", "Flower's API", 12.0, 12.0),
    ):
        measured = _compare(samples, rival, paired, lambda sample: sample.rate)
        if measured is not None:
            what = f"submit rate against {title}"
            goals.append(Goal(what=what, least=least, aim=aim, unit="×", measured=measured))
    return goals


def _compare(
    samples: Mapping[str, Sequence[Sample]],
    rival: str,
    how: Callable[[Sequence[float], Sequence[float]], Figure],
    of: Callable[[Sample], float],
) -> Figure | None:
    if "gateway" not in samples or rival not in samples:
        return None
    ours = [of(sample) for sample in samples["gateway"]]
    theirs = [of(sample) for sample in samples[rival]]
    return how(ours, theirs)
