from datetime import UTC, datetime
from typing import Any

from history.config import DEFAULT_MASK
from history.writing.facts import Change, Error, Facts, Request, order_of
from history.writing.masking import Mask
from history.writing.merging import MOST_CHANGES, Merger, merge_changes, together

MERGER = Merger(Mask(DEFAULT_MASK), 7)


def facts(*states, first=1000, **more):
    changes = [
        Change(cursor=f"{first + place}-0", state=state, worker="w")
        for place, state in enumerate(states)
    ]
    return Facts(task_id="t", changes=changes, **more)


def after(*many):
    """The document that facts make, one after the other."""
    document: dict[str, Any] = {}
    for one in many:
        found = MERGER.merged(document or None, one)
        document = {**document, **found}
    return document


def test_what_is_read_again_changes_nothing():
    document = after(facts("STARTED", "SUCCESS", task="a.b"))

    assert MERGER.merged(document, facts("STARTED", "SUCCESS", task="a.b")) == {}


def test_an_older_change_never_overwrites_the_state():
    document = after(facts("STARTED", "SUCCESS"), facts("STARTED"))

    assert document["state"] == "SUCCESS"
    assert [one["state"] for one in document["changes"]] == ["STARTED", "SUCCESS"]


def test_in_whatever_order_facts_come_the_document_is_the_same():
    accepted = Facts(task_id="t", task="a.b", accepted_at=datetime.fromtimestamp(0.5, UTC))
    started, ended = (
        facts("STARTED", started_at=datetime.fromtimestamp(1, UTC)),
        facts("FAILURE", first=2000, task="a.b", error=Error(kind="E", message="m")),
    )
    asked = Facts(task_id="t", request=Request(args="[1]", kwargs="{}"))
    one, other = after(accepted, started, ended, asked), after(asked, ended, started, accepted)

    assert one == other
    assert one["waited_s"] == 0.5


def test_a_later_attempt_that_succeeds_takes_the_error_away():
    failed = facts("FAILURE", error=Error(kind="E", message="bad 7"), task="a")
    document = after(failed, facts("STARTED", "SUCCESS", first=2000))

    assert document["error"] is None
    assert document["failure"] is None


def test_events_give_way_to_records_and_never_replace_them():
    told = facts("STARTED", "FAILURE", source="events", error=Error(kind="E", message="m"))
    known = facts("STARTED", "SUCCESS", first=900)

    assert after(told, known)["state"] == "SUCCESS"
    assert after(told, known)["source"] == "penstock"
    assert after(known, told)["state"] == "SUCCESS"
    assert len(after(told, known)["changes"]) == 2


def test_of_many_changes_the_first_and_the_last_stay():
    news = [Change(cursor=f"{number}-0", state="RETRY") for number in range(1, 400)]
    kept = merge_changes((), news) or []

    assert len(kept) == MOST_CHANGES
    assert (kept[0]["c"], kept[49]["c"], kept[50]["c"], kept[-1]["c"]) == (
        "1-0", "50-0", "350-0", "399-0",
    )  # fmt: skip


def test_the_last_of_progress_that_follows_progress_stays():
    states = ["STARTED", "PROGRESS", "PROGRESS", "RETRY", "PROGRESS"]
    news = [Change(cursor=f"{n}-0", state=state) for n, state in enumerate(states)]

    assert [one["c"] for one in merge_changes((), news) or ()] == ["0-0", "2-0", "3-0", "4-0"]


def test_cursors_are_ordered_as_numbers():
    assert order_of("1764-9") < order_of("1764-10") < order_of("1765-0")


def test_facts_of_one_task_are_put_together():
    one, other = facts("STARTED"), facts("FAILURE", first=2000, error=Error(kind="E", message="m"))
    both = together([other, one])["t"]

    assert [change.state for change in both.changes] == ["STARTED", "FAILURE"]
    assert both.error is not None
