"""What the errors of single writes mean: a document that is refused, or a server that is away."""

from typing import Any

import pytest
from bson import encode
from bson.raw_bson import RawBSONDocument
from pymongo.errors import BulkWriteError

from penstock.worker.errors import PermanentError, RetryableError
from tasks.refusals import sort_write_errors
from tasks.sharing import Inserted

DOCUMENTS = [(at, RawBSONDocument(encode({"_id": at}))) for at in range(2)]


def answers(code: int, errmsg: str, **more: Any) -> Any:
    error = BulkWriteError(
        {"nInserted": 1, "writeErrors": [{"index": 1, "code": code, "errmsg": errmsg, **more}]}
    )
    [answer] = sort_write_errors(error, [DOCUMENTS])
    return answer


@pytest.mark.parametrize("code", [1, 6, 13, 50, 215, 365, 371, 388, 11601, 13388, 14031, 9999999])
def test_what_is_not_known_to_be_the_documents_fault_is_tried_again(code: int):
    """An operator's `setUserWriteBlockMode` (371), a busy server (365), codes of later releases."""
    assert isinstance(answers(code, "not now"), RetryableError)


def test_a_view_takes_no_document_and_the_batch_becomes_a_dead_letter():
    assert isinstance(answers(166, "a view, not a collection"), PermanentError)


def test_a_shard_that_does_not_answer_is_no_fault_of_a_document():
    """As `mongos` says it, whatever the code."""
    text = "Write results unavailable from failing to target a host in the shard s1"

    assert isinstance(answers(1, text), RetryableError)


@pytest.mark.parametrize(
    ("code", "more"),
    [(121, {}), (17280, {}), (16755, {}), (11000, {"keyPattern": {"email": 1}})],
)
def test_a_document_that_is_refused_fails_alone(code: int, more: dict[str, Any]):
    answer = answers(code, "no", **more)

    assert isinstance(answer, Inserted)
    assert [one.index for one in answer.failed] == [1]


def test_a_document_that_is_there_already_is_stored():
    answer = answers(11000, "E11000", keyPattern={"_id": 1})

    assert isinstance(answer, Inserted)
    assert (answer.duplicates, answer.failed) == (1, ())
