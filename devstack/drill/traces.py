"""The traces of a drill: every sampled request is one connected tree, or it is named why not.

The client samples some of its requests: it sends a `traceparent`, and every process of ours decides
by that alone. Spans come to a receiver of the drill's own. Nothing but the end of a process may
lose one, and a process that is told to stop exports first: so a tree that is torn, or lacks what
the books say happened, needs a process that was killed while the trace went on.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from devstack.drill.director import Episode
from devstack.drill.receipts import IngestReceipt, Ledger, TaskReceipt
from devstack.drill.reconcile import Findings
from devstack.drill.records import NOTHING, Holdings
from devstack.otlp import Receiver, Span

EXPORT_MS = 500
"""How often a process exports."""
LATE_S = 10.0
"""After its end something of a trace may still be under way so long, on a busy machine."""
_SERVER, _CONSUMER = 2, 5
"""Kinds of spans, as OTLP has them."""
_GATEWAY = "penstock-gateway"
_MOST_WAITING = 50_000
"""Spans that wait for the exporter: none is dropped for want of room."""
KILLS = {
    "gateway": {"kill-gateway"},
    "worker": {"kill-worker", "kill-child", "crash-task"},
    "either": {"kill-gateway", "kill-worker", "kill-child", "crash-task"},
}
"""The faults that kill processes of a kind with no chance to export."""


def environment(receiver: Receiver) -> dict[str, str]:
    """Return what makes our processes export every span of the requests that the client samples."""
    return {
        "TRACING": "1",
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
        "OTEL_TRACES_SAMPLER": "parentbased_always_off",
        "OTEL_BSP_SCHEDULE_DELAY": str(EXPORT_MS),
        "OTEL_BSP_MAX_QUEUE_SIZE": str(_MOST_WAITING),
    }


@dataclass(slots=True)
class Traced:
    """One sampled request: what was asked, and what the books say about it."""

    trace: str
    root: str
    """Span of the client."""
    began: float
    ended: float
    """Unix times of its first question and of its last end."""
    answered: bool
    """Whether an answer came to its last try."""
    tasks: set[str] = field(default_factory=set)
    """Ids of what workers ended."""
    runs: set[tuple[str, int]] = field(default_factory=set)
    """Id and attempt of each execution that wrote itself down."""
    crashed: bool = False
    """Whether a task killed its process, or lost it three times."""


def traced(ledger: Ledger, holdings: Holdings) -> list[Traced]:
    """Return the sampled requests with what the books have of them."""
    found: dict[str, Traced] = {}
    receipts: list[TaskReceipt | IngestReceipt] = [*ledger.tasks, *ledger.ingests]
    for receipt in receipts:
        if not receipt.trace:
            continue
        trace, _, root = receipt.trace.partition("-")
        one = found.setdefault(
            trace, Traced(trace, root, receipt.traced_at, receipt.decided_at, answered=False)
        )
        one.ended = max(one.ended, receipt.decided_at)
        one.answered |= receipt.outcome == "accepted"
        ids = receipt.ids if isinstance(receipt, TaskReceipt) else receipt.batches
        for task_id in ids:
            record = holdings.records.get(task_id, NOTHING)
            one.ended = max(one.ended, record.done_at)
            one.crashed |= record.error == "WorkerLost"
            if record.worker and record.state in {"SUCCESS", "FAILURE"}:
                one.tasks.add(task_id)
        if isinstance(receipt, TaskReceipt):
            runs = holdings.runs.get(receipt.number, ())
            one.runs |= {(run.task_id, run.retries) for run in runs}
    return list(found.values())


def lacks(one: Traced, spans: Iterable[Span]) -> dict[str, set[str]]:
    """Return what a trace lacks, by the kind of the process that did not export it.

    Args:
        one: The request.
        spans: Of its trace.
    """
    mine = {span.span_id: span for span in spans}
    lacking: dict[str, set[str]] = defaultdict(set)
    for span in mine.values():
        if span.parent_id not in mine and span.parent_id != one.root:
            whose = "gateway" if span.service == _GATEWAY else "worker"
            # An execution's publisher is a gateway, or a worker that started the task.
            lacking["either" if span.kind == _CONSUMER else whose].add(f"parent of {span.name}")
    executed = [span for span in mine.values() if span.name.startswith("execute ")]
    ids = {span.attributes.get("messaging.message.id") for span in executed}
    attempts = {
        (span.attributes.get("messaging.message.id"), span.attributes.get("celery.retries"))
        for span in executed
    }
    if one.answered and not any(span.kind == _SERVER for span in mine.values()):
        lacking["gateway"].add("the request")
    published = {
        span.attributes.get("messaging.message.id")
        for span in mine.values()
        if span.name.startswith("publish ")
    }
    if one.answered and one.tasks - published:
        lacking["gateway"].add("a publish")
    if one.tasks - ids or one.runs - attempts:
        lacking["worker"].add("an execution")
    return lacking


def reconcile_traces(
    ledger: Ledger,
    holdings: Holdings,
    receiver: Receiver,
    episodes: Iterable[Episode],
    findings: Findings,
) -> None:
    """Hold every sampled request against the spans that came.

    Args:
        ledger: What was sent.
        holdings: What became of it.
        receiver: What was exported.
        episodes: What was broken, and when.
        findings: Get the counts, and a fault for each tree that is torn for no reason.
    """
    by_trace: dict[str, list[Span]] = defaultdict(list)
    for span in receiver.spans:
        by_trace[span.trace_id].append(span)
    episodes = list(episodes)
    for one in traced(ledger, holdings):
        findings.counts["requests sampled"] += 1
        lacking = lacks(one, by_trace.pop(one.trace, ()))
        if not lacking:
            findings.counts["sampled, one connected tree"] += 1
        elif reason := _reason(one, lacking, episodes):
            findings.counts[f"sampled, torn: {reason}"] += 1
        else:
            findings.fault("trace torn", (one, dict(lacking)))
    for trace in by_trace:
        findings.fault("trace that nobody asked for", trace)


def _reason(
    one: Traced, lacking: Mapping[str, set[str]], episodes: Iterable[Episode]
) -> str | None:
    """Name what killed the processes that did not export; None: nothing did."""
    at_once = {
        name
        for episode in episodes
        if episode.began <= one.ended + LATE_S and episode.healed >= one.began - EXPORT_MS / 1000
        for name in episode.names
    }
    if one.crashed:
        at_once.add("crash-task")
    named = [at_once & KILLS[kind] for kind in lacking]
    return ", ".join(sorted(set().union(*named))) if all(named) else None
