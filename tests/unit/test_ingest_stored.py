"""What a request is told of its batches."""

import pytest

from gateway.ingesting.stored import MAX_KEPT_PLACES, add_up
from gateway.states.state import State

SUCCESS = State(
    id="a",
    state="SUCCESS",
    result=b'{"stored":1,"duplicates":0,"failed":[{"index":1,"_id":{"__type__":"x"},"detail":"d"}]}',
)
FAILURE = State(id="b", state="FAILURE", error={"type": "DeadLettered", "message": "rejected"})


@pytest.mark.parametrize(("ids", "told"), [(b'"x",{"k":7}', ["x", {"k": 7}]), (b"", [None, None])])
def test_a_batch_that_ended_without_a_result_names_its_documents(ids: bytes, told: list[object]):
    found = add_up([("a", 2, b'"p","q"'), ("b", 2, ids)], {"a": SUCCESS, "b": FAILURE})

    assert found is not None
    assert (found["stored"], found["duplicates"]) == (1, 0)
    assert [(one["index"], one["_id"]) for one in found["failed"]] == [
        (1, {"__type__": "x"}),
        *zip((2, 3), told, strict=True),
    ]
    assert found["failed"][1]["detail"] == "FAILURE: DeadLettered rejected"


def test_nothing_is_told_while_a_batch_has_not_ended():
    assert add_up([("a", 2, b""), ("c", 1, b"")], {"a": SUCCESS}) is None


def test_an_index_counts_the_documents_that_were_skipped():
    def index(*skipped_behind: int) -> int | None:
        found = add_up([("a", 2, b"")], {"a": SUCCESS}, skipped_behind)
        assert found is not None
        return found["failed"][0].get("index")

    assert [index(), index(0), index(0, 0, 1), index(1, 2)] == [1, 2, 4, 2]
    assert index(*[0] * (MAX_KEPT_PLACES - 1)) == MAX_KEPT_PLACES
    assert index(*[0] * MAX_KEPT_PLACES) is None
