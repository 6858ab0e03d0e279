"""What a drill finds in what a gateway tells of tasks of stock Celery."""

from typing import Any

import pytest

from devstack.drill.reconcile import Findings
from devstack.drill.stock.books import Steps, StockHoldings, reconcile_stock
from devstack.drill.stock.load import StockLedger, StockReceipt

RAN = Steps([100.0], [101.0])
KILLED = Steps([100.0], [])
NEVER = Steps()
ASKED = {"revoking": True, "revoked_at": 90.0}
LOST = {"error": {"type": "WorkerLostError"}}


def faults(
    receipt: dict[str, Any],
    state: str,
    steps: Steps,
    ends: tuple[str, ...] = (),
    called: tuple[str, ...] | None = None,
    **more: Any,
) -> list[str]:
    one = StockReceipt(
        number=7, task_id="one", **{"kind": "plain", "outcome": "accepted", **receipt}
    )
    one.called_back = called is not None
    ledger = StockLedger([one])
    ledger.ends["one"] = [(0.0, end) for end in ends]
    holdings = StockHoldings(
        states={"one": {"id": "one", "state": state, **more}},
        steps={7: steps},
        received={"received", "dropped"},
        dropped={"dropped"},
        called={"one": [{"id": "one", "state": end} for end in called or ()]},
    )
    findings = Findings()
    reconcile_stock(ledger, holdings, findings)
    return [fault.removeprefix("stock ") for fault in findings.faults]


@pytest.mark.parametrize(
    ("receipt", "state", "steps", "more"),
    [
        ({}, "SUCCESS", RAN, {"result": 7}),
        ({"kind": "chain"}, "SUCCESS", RAN, {"result": 8}),
        ({"kind": "fails"}, "FAILURE", RAN, {"error": {"type": "ValueError"}}),
        ({}, "FAILURE", KILLED, LOST),
        ({}, "FAILURE", NEVER, {"error": {"type": "ConnectionError"}}),
        ({**ASKED, "kind": "revoked"}, "REVOKED", NEVER, {}),
        ({"revoking": True, "kind": "revoked"}, "REVOKED", NEVER, {}),
        ({**ASKED, "kind": "revoked waiting"}, "REVOKED", KILLED, {}),
        ({"first_id": "received"}, "PENDING", NEVER, {}),
        ({**ASKED, "first_id": "dropped"}, "PENDING", NEVER, {}),
        ({"kind": "expires"}, "REVOKED", NEVER, {}),
        ({"due_s": 99.0}, "SUCCESS", RAN, {"result": 7}),
        ({}, "STARTED", RAN, {}),
        ({"outcome": "unknown"}, "SUCCESS", RAN, {}),
        ({"outcome": "refused"}, "", NEVER, {}),
    ],
)
def test_what_is_promised_is_no_fault(receipt, state, steps, more):
    assert faults(receipt, state, steps, **more) == []


@pytest.mark.parametrize(
    ("receipt", "state", "steps", "more", "fault"),
    [
        (ASKED, "REVOKED", RAN, {}, "task REVOKED that ran"),
        (ASKED, "PENDING", NEVER, {}, "task never executed"),
        ({}, "REVOKED", NEVER, {}, "task REVOKED that was not"),
        ({}, "SUCCESS", KILLED, {"result": 7}, "task SUCCESS that is not so"),
        ({}, "SUCCESS", RAN, {"result": 8}, "task SUCCESS that is not so"),
        ({}, "FAILURE", RAN, {"error": {"type": "DeadLettered"}}, "task FAILURE that is not so"),
        ({**ASKED, "kind": "revoked"}, "SUCCESS", RAN, {"result": 7},
         "task executed although revoked"),
        ({}, "PENDING", NEVER, {}, "task never executed"),
        ({"due_s": 100.5}, "SUCCESS", RAN, {"result": 7}, "task started too early"),
        ({"outcome": "refused"}, "SUCCESS", RAN, {}, "task refused but executed"),
    ],
)  # fmt: skip
def test_what_is_not_so_is_one(receipt, state, steps, more, fault):
    assert faults(receipt, state, steps, **more) == [fault]


@pytest.mark.parametrize(
    ("ends", "found"),
    [
        (("SUCCESS",), []),
        (("REVOKED", "SUCCESS"), ["task told two ends"]),
        (("SUCCESS", "FAILURE"), ["task told two ends"]),
        (("FAILURE", "SUCCESS"), []),
    ],
)
def test_an_end_is_told_once_but_for_that_of_a_lost_process(ends, found):
    assert faults({}, "SUCCESS", RAN, ends, result=7) == found


@pytest.mark.parametrize(
    ("called", "found"),
    [
        (("SUCCESS",), []),
        (("SUCCESS", "SUCCESS"), []),
        ((), ["callback missing"]),
        (("REVOKED",), ["callback not so"]),
        (("FAILURE",), []),
    ],
)
def test_a_callback_comes_once_or_more_with_the_end_that_it_was(called, found):
    assert faults({}, "SUCCESS", RAN, called=called, result=7) == found
