"""What a dead letter says of its task."""

import json

import pytest
from celery import Celery, states

from gateway.access.task_id import TaskIds
from gateway.endings.outcomes import Outcome, outcome

ID = TaskIds([(0, b"k" * 32)]).issue("acme")


def end_of(headers) -> Outcome:
    end = outcome(headers)
    assert end is not None
    return end


def death(queue, reason):
    return [{"queue": queue, "reason": reason, "count": 1, "exchange": "tasks"}]


@pytest.mark.parametrize(
    ("deaths", "state", "reason"),
    [
        (death("default", "expired"), "REVOKED", "expired"),
        (death("default", "rejected"), "FAILURE", "rejected"),
        (death("default", "delivery_limit"), "FAILURE", "delivery_limit"),
        (death("default", "maxlen"), "FAILURE", "maxlen"),
        (death("default", "expired") + death("penstock_delay_3", "expired"), "REVOKED", "expired"),
        (death("penstock_delay_0", "expired"), "FAILURE", "unrouted"),
        (death("celery_delayed_0", "expired"), "FAILURE", "unrouted"),
        (None, "FAILURE", "unrouted"),
        ([], "FAILURE", "unrouted"),
        ("garbage", "FAILURE", "unrouted"),
        ([None], "FAILURE", "unrouted"),
    ],
)
def test_the_newest_death_says_how_it_ended(deaths, state, reason):
    end = end_of({"id": ID, "task": "demo.add", "retries": 2, "x-death": deaths})
    record = json.loads(b"{" + end.record())

    assert (end.state, end.reason) == (state, reason)
    assert next(iter(record)) == "status"
    assert record["status"] == state
    assert record["name"] == "demo.add"
    assert record["retries"] == 2
    expected = "TaskRevokedError" if state == "REVOKED" else "DeadLettered"
    assert record["result"]["exc_type"] == expected
    assert record["result"]["exc_message"] == [reason]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"id": None},
        {"id": 7},
        {"id": b"x"},
        {"id": ""},
        {"id": "a b"},
        {"id": "x" * 256},
        {"id": ID, "x-penstock-reason": "permanent-error"},
    ],
)
def test_letters_that_tell_of_no_end_are_let_go(headers):
    assert outcome({**headers, "x-death": death("default", "rejected")}) is None


def test_garbage_in_the_other_headers_is_left_out():
    end = end_of({"id": ID, "task": 5, "retries": "x", "x-penstock-copy": 3})
    record = json.loads(b"{" + end.record())

    assert "name" not in record
    assert "retries" not in record
    assert end.copy == ""


def test_celerys_own_result_reads_the_record():
    end = end_of({"id": ID, "x-death": death("default", "expired")})
    meta = json.loads(b"{" + end.record())
    backend = Celery("x", set_as_current=False, backend="cache+memory://").backend

    error = backend.exception_to_python(meta["result"])
    assert meta["status"] in states.READY_STATES
    assert type(error).__name__ == "TaskRevokedError"
    failure = json.loads(b"{" + end_of({"id": ID}).record())
    assert type(backend.exception_to_python(failure["result"])).__name__ == "DeadLettered"


@pytest.mark.parametrize(
    "headers",
    [
        {"id": TaskIds([(0, b"k" * 32)]).issue("acme", tracked=False)},
        {"id": ID, "ignore_result": True},
    ],
)
def test_of_an_untracked_task_only_what_stands_behind_it_is_told(headers):
    end = outcome(headers)

    assert end is not None
    assert not end.kept
