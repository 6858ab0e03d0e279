"""What one part of a run hands back, and what every part is given."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.goals import Goal
from bench.rounds import Plan
from bench.servers import Servers


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a part measures with."""

    servers: Servers
    plan: Plan
    tell: Callable[[str], None]
    """Told progress, a line at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One part's results."""

    name: str
    """Key in the result file."""
    data: Any
    """Every round, as plain values or dataclasses."""
    text: str
    """A table for the terminal."""
    goals: Sequence[Goal] = ()
    charts: Mapping[str, str] = field(default_factory=dict)
    """File name without suffix → SVG."""
