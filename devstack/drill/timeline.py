"""What happened when: events of all kinds on one clock, and how soon each came back."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from devstack.drill.director import Episode
from devstack.drill.receipts import Ledger
from devstack.drill.records import Holdings
from devstack.drill.rig import GATEWAYS

SIGNS = (
    *(f"accepted by {name}" for name in GATEWAYS),
    *(f"read from {name}" for name in GATEWAYS),
    "prefork executes",
    "threads execute",
    "documents stored",
)
"""All of them again: the stack has recovered."""


@dataclass(slots=True)
class Timeline:
    """Times (Unix) of events by name, with how much happened at each."""

    began: float
    events: dict[str, list[tuple[float, int]]] = field(default_factory=lambda: defaultdict(list))
    rss_mib: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    """Resident memory of each gateway, sampled."""

    def rates(self, name: str, seconds: int) -> list[float]:
        """Return how much happened in each second from the beginning."""
        rates = [0.0] * seconds
        for at, amount in self.events.get(name, ()):
            second = int(at - self.began)
            if 0 <= second < seconds:
                rates[second] += amount
        return rates

    def add_books(self, ledger: Ledger, holdings: Holdings) -> None:
        """Take in what receipts and records tell."""
        for task in ledger.tasks:
            if task.kind == "direct" or not task.decided_at:
                continue
            if task.outcome == "accepted":
                self.events[f"accepted by {GATEWAYS[task.gateway]}"].append((task.decided_at, 1))
            self.events[f"tasks {task.outcome}"].append((task.decided_at, 1))
            for run in holdings.runs.get(task.number, ()):
                self.events["executed"].append((run.at, 1))
        for ingest in ledger.ingests:
            self.events[f"documents {ingest.outcome}"].append((ingest.decided_at, ingest.count))
            for batch in ingest.batches:
                record = holdings.records.get(batch)
                if record is not None and record.final:
                    self.events["documents stored"].append((record.done_at, _stored(record.result)))
        for record in holdings.records.values():
            if record.worker and record.final:
                pool = "threads execute" if record.worker.startswith("threads@") else ""
                pool = "prefork executes" if record.worker[:4] in {"one@", "two@"} else pool
                if pool:
                    self.events[pool].append((record.done_at, 1))
        for some in self.events.values():
            some.sort()

    def recovery(self, episodes: Sequence[Episode]) -> list[tuple[Episode, float, str, bool]]:
        """Tell for each episode how long after its healing all signs were seen again.

        Returns:
            Episode, seconds, the last sign, and whether the next fault came before it.
        """
        times = {name: [at for at, _ in self.events.get(name, ())] for name in SIGNS}
        ends = [episode.began for episode in episodes[1:]] + [float("inf")]
        return [
            (episode, *_slowest(times, episode.healed, end))
            for episode, end in zip(episodes, ends, strict=True)
        ]


def _slowest(
    times: Mapping[str, Sequence[float]], healed: float, end: float
) -> tuple[float, str, bool]:
    slowest, last = 0.0, ""
    for name, when in times.items():
        place = bisect_right(when, healed)
        took = (when[place] if place < len(when) else float("inf")) - healed
        if took > slowest:
            slowest, last = took, name
    return slowest, last, healed + slowest > end


def _stored(result: object) -> int:
    stored = result.get("stored", 0) if isinstance(result, dict) else 0
    return stored if isinstance(stored, int) else 0
