"""What a drill sent, and what it was told: the side of the books that the product cannot touch."""

import time
from dataclasses import dataclass, field
from typing import Literal

Outcome = Literal["open", "accepted", "refused", "unknown"]


@dataclass(slots=True, kw_only=True)
class Receipt:
    """One request, however often it was tried."""

    number: int
    """Finds again what became of it: the argument of a task, the field `r` of documents."""
    kind: str
    outcome: Outcome = "open"
    doubtful: bool = False
    """Whether some try had an unknown outcome."""
    trace: str = ""
    """Ids of its trace and of the client's span, where the request is sampled: `trace-span`."""
    traced_at: float = 0.0
    """When that began."""
    decided_at: float = 0.0
    gateway: int = 0

    def decide(self, outcome: Outcome, gateway: int) -> None:
        """Note the last outcome and when it came."""
        self.outcome = outcome
        self.decided_at = time.time()
        self.gateway = gateway


@dataclass(slots=True, kw_only=True)
class TaskReceipt(Receipt):
    """One submit."""

    due_s: float = 0.0
    """Unix time before which it must not start; 0: at once."""
    keyed: bool = False
    """Sent with an idempotency key, so that it may be tried again after any outcome."""
    tallied: bool = True
    """Whether its executions are written down."""
    way: str = ""
    """In which of `endings.ENDS` it ends."""
    ids: set[str] = field(default_factory=set)
    """Every id that an answer named; one, if all is well."""
    revoked: bool = False
    """Whether a revocation was confirmed before it was due."""


@dataclass(slots=True, kw_only=True)
class IngestReceipt(Receipt):
    """One ingest request; the field `i` counts its documents."""

    count: int
    repeatable: bool
    """Whether a second send stores nothing twice: own `_id`, `?key=` or an idempotency key."""
    accepted: int = 0
    """Documents that were confirmed; fewer than `count` where only a part was."""
    batches: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Ledger:
    """Everything sent in one drill."""

    tasks: list[TaskReceipt] = field(default_factory=list)
    ingests: list[IngestReceipt] = field(default_factory=list)
    poison: list[str] = field(default_factory=list)
    """Message ids of the poison that RabbitMQ confirmed."""
    foreign: list[str] = field(default_factory=list)
    """Ids of messages with headers and envelopes that are not the protocol's."""
    strange: list[str] = field(default_factory=list)
    """Answers that the contract does not foresee."""
    statuses: dict[str, int] = field(default_factory=dict)
    """How often each status and code was answered."""
    slowest_s: float = 0.0
    """Longest time from a request to its answer."""
    late: dict[str, int] = field(default_factory=dict)
    """Answers that took longer than the six seconds of the contract, by what was asked."""

    def task(self, kind: str, **more: float | bool | str) -> TaskReceipt:
        """Open a receipt of a submit."""
        receipt = TaskReceipt(number=len(self.tasks), kind=kind, **more)  # type: ignore[arg-type]
        self.tasks.append(receipt)
        return receipt

    def ingest(self, kind: str, count: int, *, repeatable: bool) -> IngestReceipt:
        """Open a receipt of an ingest."""
        receipt = IngestReceipt(
            number=len(self.ingests), kind=kind, count=count, repeatable=repeatable
        )
        self.ingests.append(receipt)
        return receipt
