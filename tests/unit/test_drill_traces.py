"""Which traces of a drill are torn, and what is named as the reason."""

import pytest

from devstack.drill.director import Episode
from devstack.drill.receipts import Ledger
from devstack.drill.reconcile import Findings
from devstack.drill.records import Holdings, Record, Run
from devstack.drill.traces import reconcile_traces
from devstack.otlp import Receiver, Span

TRACE, CLIENT = "a" * 32, "c" * 16
SERVER, PRODUCER, CONSUMER = 2, 4, 5


def span(name: str, kind: int, own: str, parent: str, attempt: int = 0) -> Span:
    service = "penstock-worker" if name.startswith("execute") else "penstock-gateway"
    about = {"messaging.message.id": "t1", "celery.retries": attempt}
    return Span(service, name, kind, TRACE, own, parent, about, (), 0, "")


WHOLE = [
    span("POST /v1/tasks", SERVER, "1", CLIENT),
    span("publish drill.tally", PRODUCER, "2", "1"),
    span("execute drill.tally", CONSUMER, "3", "2"),
]


def reconciled(spans: list[Span], *broken: str, error: str = "") -> Findings:
    """What is found of one sampled task that ran from 100 to 110."""
    ledger = Ledger()
    receipt = ledger.task("plain")
    receipt.outcome, receipt.ids, receipt.decided_at = "accepted", {"t1"}, 101.0
    receipt.trace, receipt.traced_at = f"{TRACE}-{CLIENT}", 100.0
    record = Record("FAILURE" if error else "SUCCESS", error, worker="one@vm", done_at=110.0)
    runs = {receipt.number: [Run("t1", 0, 105.0)]}
    episodes = [
        Episode(names=("kill-redis",), began=100, healed=111),
        *(Episode(names=(name,), began=104, healed=108) for name in broken),
        Episode(names=("kill-gateway", "kill-worker"), began=300, healed=310),
    ]
    findings = Findings()
    reconcile_traces(
        ledger, Holdings(records={"t1": record}, runs=runs), Receiver("", spans), episodes, findings
    )
    return findings


def test_a_request_with_all_its_spans_is_one_connected_tree():
    findings = reconciled(WHOLE)

    assert findings.counts["sampled, one connected tree"] == 1
    assert not findings.faults


@pytest.mark.parametrize("number", range(3))
def test_a_span_that_is_missing_for_no_reason_is_a_fault(number):
    findings = reconciled([one for i, one in enumerate(WHOLE) if i != number])

    assert findings.faults == {"trace torn": 1}


@pytest.mark.parametrize(
    ("number", "broken"), [(0, "kill-gateway"), (1, "kill-gateway"), (2, "kill-child")]
)
def test_what_was_killed_meanwhile_is_named(number, broken):
    findings = reconciled([one for i, one in enumerate(WHOLE) if i != number], broken)

    assert findings.counts[f"sampled, torn: {broken}"] == 1
    assert not findings.faults


@pytest.mark.parametrize(("number", "broken"), [(0, "kill-worker"), (2, "kill-gateway")])
def test_a_process_of_another_kind_is_no_reason(number, broken):
    findings = reconciled([one for i, one in enumerate(WHOLE) if i != number], broken)

    assert findings.faults == {"trace torn": 1}


def test_an_attempt_without_its_span_is_missed():
    other = [*WHOLE[:2], span("execute drill.tally", CONSUMER, "3", "2", attempt=1)]

    assert reconciled(other).faults == {"trace torn": 1}


def test_a_task_that_kills_its_process_is_the_reason():
    findings = reconciled(WHOLE[:2], error="WorkerLost")

    assert findings.counts["sampled, torn: crash-task"] == 1


def test_a_trace_that_no_request_began_is_a_fault():
    stray = Span("penstock-worker", "execute x", CONSUMER, "b" * 32, "1", "", {}, (), 0, "")

    assert reconciled([*WHOLE, stray]).faults == {"trace that nobody asked for": 1}
