"""Filters of tasks: as clients write them, and as MongoDB reads them."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.history.cursors import place_of, text_of
from gateway.history.filters import FilterError, restricts, time_ms, where_of
from history.queries.filters import plain_filter
from history.queries.places import behind
from penstock.wire.history_queries import Where


@given(st.integers(0, 4_102_444_800_000), st.text(min_size=1, max_size=60))
def test_a_cursor_is_read_as_it_was_written(at_ms: int, task_id: str):
    assert place_of(text_of((at_ms, task_id))) == (at_ms, task_id)


@given(st.text(max_size=40))
def test_no_text_breaks_the_reading_of_a_cursor(text: str):
    try:
        at_ms, task_id = place_of(text)
    except ValueError:
        return
    assert behind({}, [at_ms, task_id])["$or"]


@given(
    st.builds(
        Where,
        tenant=st.none() | st.just("acme"),
        states=st.lists(st.sampled_from(["FAILURE", "RETRY"])).map(tuple),
        unended=st.booleans(),
        task=st.text(max_size=5),
        since_ms=st.none() | st.integers(),
        text=st.text(max_size=9),
    )
)
def test_a_filter_travels_whole(where: Where):
    assert Where.from_json(where.to_json()) == where
    assert ("task" in plain_filter(where, [where.task])) == bool(where.task)


@pytest.mark.parametrize(
    "wrong",
    [{"colour": "red"}, {"states": [5]}, {"since_ms": "now"}, {"task": 5}, {"unended": 1}],
)
def test_a_filter_of_another_form_is_refused(wrong: dict[str, object]):
    with pytest.raises(ValueError, match="is no filter"):
        Where.from_json(wrong)


def test_a_time_is_cut_to_milliseconds_and_utc():
    noon = datetime(2026, 1, 31, 12, tzinfo=UTC).timestamp() * 1000
    assert time_ms("since", "2026-01-31T12:00:00.0019Z") == noon + 2
    assert time_ms("since", 1769860800.5) == noon + 500
    wrongs: list[object] = ["", "now", "5", True, None, [], "1e9", "0001-01-01", -1, 1e300]
    for wrong in [*wrongs, float("nan")]:
        with pytest.raises(FilterError):
            time_ms("since", wrong)


def test_what_is_empty_does_not_restrict():
    assert where_of({"state": "", "task": "", "since": "", "q": ""}, "acme") == Where(tenant="acme")
    assert not restricts({"state": "", "q": None, "since": ""})
    assert restricts({"state": "", "q": "x"})
    assert where_of({"state": " FAILURE , RETRY,"}, None).states == ("FAILURE", "RETRY")
