"""The receipts of the applications against what gateways tell, what ran, and who was called back.

What is promised is that nothing is told which is not so; see the table in docs/celery-apps.md.
"""

import asyncio
import re
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from devstack.drill.reconcile import EARLY_S, Findings
from devstack.drill.stock.layout import RUNS_FILE, worker_of
from devstack.drill.stock.load import FINAL, StockLedger, StockLoad, StockReceipt
from devstack.drill.stock.receiver import Receiver

_DROPPED = re.compile(r"Discarding revoked task: \S+\[(\S+)\]")
_RECEIVED = re.compile(r"Task \S+\[(\S+)\] received")
_OURS = frozenset({"DeadLettered", "Purged", "WorkerLost", "NotNeeded"})
"""Errors that a gateway tells; nothing here deserves them."""
CALLED_WITHIN_S = 90.0
"""Gateways look at a task that has taken long every half minute; then a refused callback waits."""


@dataclass(slots=True)
class Steps:
    """What the application wrote down of one number: Unix times."""

    began: list[float] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class StockHoldings:
    """What was found when it was quiet."""

    states: dict[str, dict[str, Any]] = field(default_factory=dict)
    """As a gateway tells them, by task."""
    steps: dict[int, Steps] = field(default_factory=dict)
    """By number of the receipt."""
    called: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """By task."""
    received: set[str] = field(default_factory=set)
    """Tasks that a worker has logged as received."""
    dropped: set[str] = field(default_factory=set)
    """Tasks that a worker has logged as revoked, and so not executed."""


async def read_stock(
    load: StockLoad, receiver: Receiver, folder: Path, quiet_s: float
) -> StockHoldings:
    """Wait until all have ended, or none has for that long, and read everything.

    Args:
        load: Knows what was sent, and asks for states.
        receiver: Was called back.
        folder: Of the drill: what ran, and the logs of the workers.
        quiet_s: How long to wait for another end.
    """
    accepted = {one.task_id for one in load.ledger.receipts if one.task_id}
    states: dict[str, dict[str, Any]] = {}
    progress = time.monotonic()
    while (waiting := accepted - _ended(states)) and time.monotonic() < progress + quiet_s:
        before = len(waiting)
        states |= await load.ask(waiting)
        if len(accepted - _ended(states)) < before:
            progress = time.monotonic()
        await asyncio.sleep(0.5)
    states |= await load.ask(accepted)  # whether they stay so
    owed = {
        one.task_id for one in load.ledger.receipts if one.called_back and one.outcome == "accepted"
    } & _ended(states)
    deadline = time.monotonic() + CALLED_WITHIN_S
    while owed - receiver.told.keys() and time.monotonic() < deadline:  # noqa: ASYNC110  # asks
        await asyncio.sleep(0.5)
    return StockHoldings(
        states=states,
        steps=_read(folder / RUNS_FILE),
        called=dict(receiver.told),
        received=_logged(folder / "logs", _RECEIVED),
        dropped=_logged(folder / "logs", _DROPPED),
    )


def _ended(states: dict[str, dict[str, Any]]) -> set[str]:
    return {task_id for task_id, state in states.items() if state.get("state") in FINAL}


def _logged(logs: Path, words: re.Pattern[str]) -> set[str]:
    """Return the tasks of which a worker of stock Celery has logged that."""
    files = logs.glob(f"{worker_of('')}*")
    return {one for file in files for one in words.findall(file.read_text("utf-8", "replace"))}


def _read(runs: Path) -> dict[int, Steps]:
    found: dict[int, Steps] = defaultdict(Steps)
    if not runs.exists():  # a drill without stock workers
        return found
    for line in runs.read_bytes().splitlines():
        step = orjson.loads(line)
        (
            found[step["number"]].began if step["step"] == "began" else found[step["number"]].ended
        ).append(step["at"])
    return dict(found)


def reconcile_stock(ledger: StockLedger, holdings: StockHoldings, findings: Findings) -> None:
    """Compare, and note what must not be."""
    for receipt in ledger.receipts:
        steps = holdings.steps.get(receipt.number, Steps())
        findings.counts[f"stock tasks {receipt.outcome}"] += 1
        findings.counts["stock executions"] += len(steps.began)
        if any(at < receipt.due_s - EARLY_S for at in steps.began):
            findings.fault("stock task started too early", (receipt, steps))
        if receipt.outcome == "refused" and steps.began:
            findings.fault("stock task refused but executed", (receipt, steps))
        if receipt.outcome != "accepted":
            continue
        state = holdings.states.get(receipt.task_id, {})
        _state(receipt, state, holdings, findings)
        _ends(receipt, ledger.ends.get(receipt.task_id, []), findings)
        if receipt.first_id not in holdings.dropped:
            _callbacks(receipt, state, holdings.called.get(receipt.task_id, []), findings)


def _state(
    receipt: StockReceipt, state: dict[str, Any], holdings: StockHoldings, findings: Findings
) -> None:
    """Hold what is told against what ran.

    What stock Celery tells itself is its own: it stores FAILURE for a process or a Redis that it
    lost, and then acknowledges the task without executing it.
    """
    steps = holdings.steps.get(receipt.number, Steps())
    told = state.get("state", "nothing")
    findings.counts[f"stock tasks {told}"] += 1
    revoked = bool(receipt.revoked_at)
    received = receipt.first_id in holdings.received
    if told == "REVOKED" and steps.ended:
        findings.fault("stock task REVOKED that ran", (receipt, state, steps))
    if told == "REVOKED" and not (receipt.revoking or receipt.kind == "expires"):
        findings.fault("stock task REVOKED that was not", (receipt, state, steps))
    if told == "SUCCESS":
        value = receipt.number + (receipt.kind == "chain")
        if not steps.ended or receipt.kind == "fails" or state.get("result") != value:
            findings.fault("stock task SUCCESS that is not so", (receipt, state, steps))
    if told == "FAILURE":
        findings.counts[f"stock tasks FAILURE {_error(state)}"] += 1
        error = _error(state)
        if error in _OURS or (error == "ValueError" and receipt.kind != "fails"):
            findings.fault("stock task FAILURE that is not so", (receipt, state, steps))
    if receipt.kind == "revoked" and revoked and steps.began:
        findings.fault("stock task executed although revoked", (receipt, state, steps))
    if not steps.began and told not in {"REVOKED", "FAILURE"}:
        if receipt.first_id in holdings.dropped:
            findings.counts["stock ends that Celery wrote over"] += 1
        elif received:
            findings.counts["stock tasks that Celery lost"] += 1
        else:
            findings.fault("stock task never executed", (receipt, state))
    if told not in FINAL:
        findings.counts["stock tasks executed, end unknown"] += bool(steps.ended)


def _error(state: dict[str, Any]) -> str:
    return str(state.get("error", {}).get("type", ""))


def _ends(receipt: StockReceipt, ends: list[tuple[float, str]], findings: Findings) -> None:
    """An end is told once: no other follows it, but for what a lost process left behind."""
    names = [name for _, name in ends]
    if len(names) > 1 and names[0] != "FAILURE":
        findings.fault("stock task told two ends", (receipt, ends))


def _was_celerys(end: dict[str, Any]) -> bool:
    """Whether stock Celery told a failure of its own, after which it executed the task again."""
    return end.get("state") == "FAILURE" and _error(end) not in _OURS


def _callbacks(
    receipt: StockReceipt,
    state: dict[str, Any],
    called: list[dict[str, Any]],
    findings: Findings,
) -> None:
    if not receipt.called_back:
        findings.counts["stock callbacks nobody asked for"] += len(called)
        return
    findings.counts["stock callbacks"] += len(called)
    told = state.get("state", "")
    if told in FINAL and not called:
        findings.fault("stock callback missing", (receipt, state))
    if called and called[-1].get("state") != told and not _was_celerys(called[-1]):
        findings.fault("stock callback not so", (receipt, state, called))
