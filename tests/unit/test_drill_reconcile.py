"""What a drill finds in the record of a task that left its body in some way."""

import pytest

from devstack.drill.endings import ENDS, RAISED
from devstack.drill.receipts import Ledger
from devstack.drill.reconcile import reconcile
from devstack.drill.records import Holdings, Record


def found(way: str, record: Record) -> dict[str, int]:
    ledger = Ledger()
    receipt = ledger.task("ends", way=way, tallied=False)
    receipt.ids.add("one")
    receipt.decide("accepted", 0)
    return dict(reconcile(ledger, Holdings(records={"one": record})).faults)


@pytest.mark.parametrize("way", ENDS)
def test_the_right_end_is_no_fault(way: str):
    due = ENDS[way]

    assert found(way, Record(due.state, due.error, due.text)) == {}


@pytest.mark.parametrize("way", RAISED)
@pytest.mark.parametrize(
    "record",
    [
        Record("FAILURE", "WorkerLost", "its process died 3 times"),
        Record("FAILURE", "EncodeError", "no text"),
        Record("SUCCESS"),
        Record("REVOKED"),
    ],
)
def test_another_end_is_one(way: str, record: Record):
    assert found(way, record) == {"odd end told wrongly": 1}


@pytest.mark.parametrize("way", ["system exit", "surrogate", "hostile"])
def test_a_right_error_with_another_text_is_one(way: str):
    assert found(way, Record("FAILURE", ENDS[way].error, "x")) == {"odd end told wrongly": 1}


def test_progress_that_fails_its_task_is_one():
    record = Record("FAILURE", "EncodeError", "NaN")

    assert found("progress NaN", record) == {"odd end told wrongly": 1}


def test_no_end_is_one():
    assert found("cancelled", Record("STARTED")) == {"task never ended": 1}
