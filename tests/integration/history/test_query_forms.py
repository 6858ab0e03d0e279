"""Filters of GET /v1/tasks: the forms in which they are read, and those that are refused."""

from datetime import UTC, datetime, timedelta

import pytest

from gateway.history.cursors import text_of
from tests.deployment.history import RunningHistory
from tests.integration.history.test_queries import get, listed
from tests.support.history_documents import document


@pytest.fixture
async def gateway(make_watching_gateway, history: RunningHistory):
    return await make_watching_gateway(**history.fields)


@pytest.mark.parametrize(
    "query",
    [
        {"state": "failure"}, {"state": "DONE"}, {"colour": "red"}, {"limit": "0"},
        {"limit": "501"}, {"limit": "99999999999999999999"}, {"limit": "-1"}, {"limit": "ten"},
        {"cursor": "nonsense"}, {"cursor": "é"}, {"cursor": "MTox\n"}, {"cursor": text_of((5, ""))},
        {"since": "yesterday"}, {"since": "2026-13-01"}, {"until": "1e400"}, {"q": "!?"},
        {"since": "2026-01-02", "until": "2026-01-01"}, {"task": "x" * 1001}, {"task": "*a" * 9},
        [("task", "a"), ("task", "b")], {"cursor": "A" * 4000}, {"q": "a\0b"},
    ],
)  # fmt: skip
async def test_a_wrong_query_is_named(gateway, query):
    answer = await get(gateway, "/v1/tasks", 400, params=query)
    assert answer["code"] == "invalid-request"
    assert set(dict(query)) & {one["at"].strip("?") for one in answer["errors"]}


async def test_states_are_one_list_and_a_second_is_refused(gateway, history):
    await history.database.tasks.insert_many(
        [document(state, state=state) for state in ("PENDING", "STARTED", "REVOKED")]
    )
    answer = await get(gateway, "/v1/tasks?state=PENDING,REVOKED,FAILURE")
    assert {one["id"] for one in answer["tasks"]} == {"PENDING", "REVOKED"}
    await get(gateway, "/v1/tasks?state=PENDING&state=REVOKED", status=400)


async def test_times_are_read_in_every_form(gateway, history):
    at = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
    await history.database.tasks.insert_many(
        [document("before", at=at - timedelta(seconds=1)), document("at", at=at)]
    )
    for since in (
        "2026-01-31T12:00:00Z", "2026-01-31t12:00:00z", "2026-01-31T12:00:00.000Z",
        "2026-01-31T13:00:00+01:00", "2026-01-31 12:00", "20260131T120000Z", "2026-W05-6T12",
        "1769860800", "1769860800.000", "2026-01-31T12:00:00", "2026-01-31T12",
    ):  # fmt: skip
        assert await listed(gateway, since=since) == ["at"], since
    # A `+` that was not escaped is a space.
    unescaped = await get(gateway, "/v1/tasks?since=2026-01-31T13:00:00+01:00")
    assert [one["id"] for one in unescaped["tasks"]] == ["at"]
    empty = await get(gateway, "/v1/tasks?state=&queue=&worker=&since=&until=&q=&cursor=")
    assert len(empty["tasks"]) == 2
