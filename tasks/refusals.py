"""What MongoDB's refusals mean: for a document, for its collection, or for now."""

from collections.abc import Mapping, Sequence
from typing import Any

from pymongo.errors import BulkWriteError

from penstock.worker.errors import PermanentError, RetryableError
from tasks.encoding import clean, failed_of
from tasks.reasons import reason_of
from tasks.sharing import Answer, Batch, Inserted

DUPLICATE_KEY = 11000

OF_THE_COLLECTION = frozenset({73, 166})
"""No document can go there: InvalidNamespace, and CommandNotSupportedOnView. The batch becomes a
dead letter, which can be replayed once the operator has made room for a collection."""

OF_ONE_DOCUMENT = frozenset({15, 22, 10334})
"""Codes with which mongod refuses a whole command because of one document in it: Overflow (over 200
levels), InvalidBSON, BSONObjectTooLarge (of a time series' bucket)."""

OF_THE_DOCUMENT = frozenset((
    DUPLICATE_KEY, 11001, 12582,  # a key that is there already; of `_id`: stored
    121,  # the collection's validator
    2, 14, 15, 22, 10334,  # its size, nesting or BSON; in a time series a time that is no date
    52, 53, 54, 55, 56, 57,  # its field names, its `_id`
    61, 13334,  # its shard key
    116,  # over the size of a capped collection
    171, 10088, 16746, 17280, 201, 5894900,  # arrays and keys that no index can hold
    13026, 13027, 13067, 13068, 13654, 16804,  # a place, of a 2d index
    16755, 16756,  # a place, of a 2dsphere index
    16766,  # an array, of a hashed index
    16675, 16732, 16733, 17261, 17262,  # a language or too many words, of a text index
))  # fmt: skip
"""Codes with which mongod refuses a single document, which it will refuse for ever
(`error_codes.yml` and the key generators of MongoDB; most were seen with 6.0).

The list is closed on purpose. What it lacks passes, or is mended by an operator: a batch that was
accepted waits for it. A batch that waits in vain can be seen and stopped; a document that was
given up by mistake is lost.
"""

_NOT_KNOWN = "rite results unavailable"
"""In the message of a `mongos` that had no answer of a shard, whatever the code."""

_UNSAID = "MongoDB does not say what became of every document"


class RefusedForNowError(RetryableError):
    """MongoDB took others of the batch, and refuses some of its documents, for now it is hoped."""


def sort_write_errors(error: BulkWriteError, batches: Sequence[Batch]) -> Sequence[Answer]:
    """Give each batch what is said of its own documents."""
    details = error.details or {}
    write_errors = {one["index"]: one for one in details.get("writeErrors", [])}
    unacknowledged = details.get("writeConcernErrors", [])
    if unacknowledged:
        text = f"MongoDB: {clean(unacknowledged[0]['errmsg'])}"
        return to_each(RetryableError(text), batches)
    if details.get("nInserted", 0) + len(write_errors) != sum(map(len, batches)):
        return to_each(RetryableError(_UNSAID), batches)
    answers = []
    first = 0
    for batch in batches:
        places = range(first, first + len(batch))
        first = places.stop
        own = [(batch[at - places.start], write_errors[at]) for at in places if at in write_errors]
        answers.append(_answer(own))
    return answers


def _answer(own: Sequence[tuple[tuple[int, Any], Mapping[str, Any]]]) -> Answer:
    """Tell a batch of its write errors, each with the document that it is about."""
    failed = []
    for (index, document), one in own:
        text = reason_of(one)
        if one["code"] in OF_THE_COLLECTION:
            return PermanentError(f"MongoDB: {text}")
        if one["code"] not in OF_THE_DOCUMENT or _NOT_KNOWN in one["errmsg"]:
            return RefusedForNowError(f"MongoDB: {text}")
        if one["code"] != DUPLICATE_KEY or not _is_primary_key(one):
            failed.append(failed_of(index, document, text))
    return Inserted(len(own) - len(failed), tuple(failed))


def to_each(error: Exception, batches: Sequence[Batch]) -> list[Answer]:
    """Give each batch an error of its own: each is raised, and has its own traceback."""
    return [type(error)(*error.args) for _ in batches]


def _is_primary_key(write_error: Mapping[str, Any]) -> bool:
    """Tell a repeated document from one that a unique index of the operator's refuses."""
    pattern = write_error.get("keyPattern")
    if pattern is None:  # before MongoDB 4.4
        return " index: _id_ " in write_error["errmsg"]
    return dict(pattern) == {"_id": 1}
