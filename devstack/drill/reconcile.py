"""Every receipt against what the servers hold. Pure: receipts and holdings in, findings out."""

from collections import Counter
from dataclasses import dataclass, field

from devstack.drill.endings import ENDS
from devstack.drill.receipts import IngestReceipt, Ledger, TaskReceipt
from devstack.drill.records import NOTHING, Holdings

EARLY_S = 0.05
AFTER_END_S = 0.5
"""A start so long after the stored end is one too many; below, the two may have crossed."""
WITNESS_LATE_S = 10.0
"""A delayed task may start so late while another's queue is full and all else works."""
_ENDS = {"fails": ("FAILURE", "RuntimeError"), "crash": ("FAILURE", "WorkerLost")}
_EXAMPLES = 5


@dataclass(slots=True)
class Findings:
    """What the reconciliation found."""

    counts: Counter[str] = field(default_factory=Counter)
    """Figures of the table."""
    faults: Counter[str] = field(default_factory=Counter)
    """What must not be; the drill fails when there is any."""
    late_s: list[float] = field(default_factory=list)
    """By how much delayed tasks started late, faults included."""
    examples: dict[str, list[str]] = field(default_factory=dict)
    """A few of each fault."""

    def fault(self, what: str, example: object, count: int = 1) -> None:
        """Note something that must not be."""
        self.faults[what] += count
        shown = self.examples.setdefault(what, [])
        if len(shown) < _EXAMPLES:
            shown.append(str(example))


def reconcile(ledger: Ledger, holdings: Holdings) -> Findings:
    """Compare."""
    findings = Findings()
    for task in ledger.tasks:
        _task(task, holdings, findings)
    for ingest in ledger.ingests:
        _ingest(ingest, holdings, findings)
    _letters(ledger, holdings, findings)
    for queue, count in holdings.left.items():
        findings.fault("left in a queue", queue, count)
    for answer in ledger.strange:
        findings.fault("strange answer", answer)
    return findings


def _task(receipt: TaskReceipt, holdings: Holdings, findings: Findings) -> None:
    counts = findings.counts
    runs = holdings.runs.get(receipt.number, [])
    ids = receipt.ids | {run.task_id for run in runs}
    counts[f"tasks {receipt.outcome}"] += 1
    if len(ids) > 1:
        findings.fault("executed under two ids", (receipt, ids))
    if runs:
        counts["tasks executed"] += 1
        counts[f"tasks {receipt.outcome}, executed"] += 1
    per_attempt = Counter((run.task_id, run.retries) for run in runs)
    repeated = sum(count - 1 for count in per_attempt.values())
    counts["executions"] += len(runs)
    counts["executions repeated"] += repeated
    counts["tasks executed more than once"] += bool(repeated)
    if receipt.outcome == "refused" and runs:
        findings.fault("refused but executed", receipt)
    if any(run.at < receipt.due_s - EARLY_S for run in runs):
        findings.fault("started too early", (receipt, runs))
    if runs and receipt.due_s:
        late_s = min(run.at for run in runs) - receipt.due_s
        findings.late_s.append(late_s)
        if receipt.kind == "witness" and late_s > WITNESS_LATE_S:
            findings.fault("delayed by another's full queue", (receipt, late_s))
    for task_id in ids:
        _end(receipt, task_id, holdings, findings)


def _end(receipt: TaskReceipt, task_id: str, holdings: Holdings, findings: Findings) -> None:
    runs = [run for run in holdings.runs.get(receipt.number, []) if run.task_id == task_id]
    record = holdings.records.get(task_id, NOTHING)
    if receipt.outcome == "refused" or (
        receipt.outcome == "unknown" and not (runs or record.state)
    ):
        return
    if not record.final:
        what = "never ended" if runs or record.state else "lost"
        findings.fault(f"task {what}", (receipt, record, runs))
        return
    findings.counts[f"ended {record.state}"] += 1
    if receipt.kind == "revoked":
        if receipt.revoked and (runs or record.state != "REVOKED"):
            findings.fault("executed although revoked", (receipt, record, runs))
        return
    if receipt.way:
        findings.counts["tasks ended oddly"] += 1
        due = ENDS[receipt.way]
        if (record.state, record.error) != (due.state, due.error) or due.text not in record.text:
            findings.fault("odd end told wrongly", (receipt, record))
        return
    state, error = _ENDS.get(receipt.kind, ("SUCCESS", ""))
    if (record.state, record.error) != (state, error):
        findings.fault("task ended wrongly", (receipt, record, runs))
    elif receipt.tallied and not runs:
        findings.fault("told as done, never executed", (receipt, record))
    if any(run.at > record.done_at + AFTER_END_S for run in runs):
        findings.fault("executed after its end", (receipt, record, runs))


def _ingest(receipt: IngestReceipt, holdings: Holdings, findings: Findings) -> None:
    counts = findings.counts
    indexes = holdings.stored.get(receipt.number, [])
    there = len(set(indexes))
    counts[f"documents {receipt.outcome}"] += receipt.count
    counts["documents stored"] += there
    counts[f"documents {receipt.outcome}, stored"] += there
    if len(indexes) > there:
        findings.fault("document stored twice", receipt, len(indexes) - there)
    if receipt.outcome == "refused" and there:
        findings.fault("document refused but stored", receipt, there)
    owed = receipt.count if receipt.outcome == "accepted" else receipt.accepted
    if there < owed:
        findings.fault("document lost", (receipt, there), owed - there)
    for batch in receipt.batches:
        record = holdings.records.get(batch, NOTHING)
        if not record.final:
            findings.fault("batch never ended", (receipt, batch, record))
        elif record.state != "SUCCESS":
            findings.fault("batch ended wrongly", (receipt, batch, record))


def _letters(ledger: Ledger, holdings: Holdings, findings: Findings) -> None:
    poison, foreign = set(ledger.poison), set(ledger.foreign)
    findings.counts["poison published"] = len(poison)
    findings.counts["poison dead-lettered"] = len(poison & holdings.letters.keys())
    for message_id in poison - holdings.letters.keys():
        findings.fault("poison not dead-lettered", message_id)
    for message_id in foreign:
        ended = holdings.records.get(message_id, NOTHING).final
        findings.counts["foreign messages published"] += 1
        findings.counts["foreign messages executed"] += ended
        if not (ended or message_id in holdings.letters):
            findings.fault("foreign message never ended", message_id)
    for message_id in holdings.letters.keys() - poison - foreign:
        findings.fault("dead-lettered", (message_id, holdings.letters[message_id]))
