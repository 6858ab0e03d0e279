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
    "asyncio executes",
    "documents stored",
)
"""All of them again: the stack has recovered."""
WITHIN_S = 15.0
RESTART_WITHIN_S = 30.0


@dataclass(frozen=True, slots=True)
class Recovery:
    """How soon everything worked again after one episode."""

    episode: Episode
    seconds: float
    """From the healing."""
    sign: str
    """What came last."""
    cut_short: bool
    """Whether the next fault came before it."""

    @property
    def allowed_s(self) -> float:
        """How long it may take: RabbitMQ needs its time to start."""
        return RESTART_WITHIN_S if "kill-rabbitmq" in self.episode.names else WITHIN_S


@dataclass(slots=True)
class Timeline:
    """Times (Unix) of events by name, with how much happened at each."""

    began: float
    events: dict[str, list[tuple[float, int]]] = field(default_factory=lambda: defaultdict(list))
    rss_mib: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    """Resident memory of each gateway, sampled."""
    busy: list[tuple[float, float]] = field(default_factory=list)
    """Share of this machine's processors that worked, sampled; 1 is all of them."""

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
                pool = "asyncio executes" if record.worker.startswith("asyncio@") else ""
                pool = "prefork executes" if record.worker[:4] in {"one@", "two@"} else pool
                if pool:
                    self.events[pool].append((record.done_at, 1))
        for some in self.events.values():
            some.sort()

    def recovery(self, episodes: Sequence[Episode]) -> list[Recovery]:
        """Tell for each episode how long after its healing all signs were seen again."""
        times = {name: [at for at, _ in self.events.get(name, ())] for name in SIGNS}
        ends = [episode.began for episode in episodes[1:]] + [float("inf")]
        return [_recovery(times, episode, end) for episode, end in zip(episodes, ends, strict=True)]


def _recovery(times: Mapping[str, Sequence[float]], episode: Episode, end: float) -> Recovery:
    slowest, last = 0.0, ""
    for name, when in times.items():
        place = bisect_right(when, episode.healed)
        took = (when[place] if place < len(when) else float("inf")) - episode.healed
        if took > slowest:
            slowest, last = took, name
    return Recovery(episode, slowest, last, cut_short=episode.healed + slowest > end)


def _stored(result: object) -> int:
    stored = result.get("stored", 0) if isinstance(result, dict) else 0
    return stored if isinstance(stored, int) else 0
