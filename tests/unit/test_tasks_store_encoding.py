"""What becomes of documents before MongoDB sees them."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import bson
import pytest

from tasks.documents import with_ids
from tasks.encoding import MAX_BSON_BYTES, encode
from tasks.sharing import Answer, Batch, Inserted
from tasks.store import Store, StoreOutcome

BAD: dict[str, Any] = {
    "an integer over 64 bits": {"_id": "x", "n": 2**63},
    "an integer under 64 bits": {"_id": "x", "n": -(2**63) - 1},
    "a lone surrogate in a value": {"_id": "x", "s": "\ud800"},
    "a lone surrogate in a key": {"_id": "x", "\udfff": 1},
    "NUL in a key": {"_id": "x", "a\0b": 1},
    "over 16 MiB": {"_id": "x", "s": "y" * MAX_BSON_BYTES},
    "a list": [1],
    "null": None,
    "a number": 5,
    "a string": "text",
}


@pytest.mark.parametrize("name", BAD)
def test_a_document_that_bson_cannot_hold_fails_alone(name):
    good = [{"_id": "before"}, {"_id": "after"}]

    encoded, failed = encode([good[0], BAD[name], good[1]])

    assert [(index, bson.decode(raw.raw)) for index, raw in encoded] == [(0, good[0]), (2, good[1])]
    assert [one.index for one in failed] == [1]
    assert failed[0].detail


def test_integers_of_64_bits_are_kept():
    encoded, failed = encode([{"_id": "x", "most": 2**63 - 1, "least": -(2**63)}])

    assert not failed
    assert bson.decode(encoded[0][1].raw)["most"] == 2**63 - 1


def test_a_failure_is_told_in_utf8_and_briefly():
    _, failed = encode([{"_id": "\ud800", "s": "\ud800" * 10_000}])
    outcome = StoreOutcome(stored=0, duplicates=0, failed=tuple(failed))

    text = json.dumps(outcome.as_json(), ensure_ascii=False).encode()

    assert len(text) < 1_000
    assert outcome.as_json()["failed"][0]["_id"] == "\\ud800"


@pytest.mark.parametrize(
    ("own", "told"),
    [
        (7, 7), (1.5, 1.5), (True, True), (2**63 - 1, 2**63 - 1),
        ({"__type__": "x", "__value__": [1]}, {"__type__": "x", "__value__": [1]}),
        (2**70, str(2**70)), (float("nan"), "nan"), (b"x", "b'x'"), ({"a": "x" * 400}, "{'a': 'xx"),
    ],
)  # fmt: skip
def test_a_failure_names_the_id_as_it_was_sent(own: object, told: object):
    _, [failed] = encode([{"_id": own, "n": 2**64}])

    shown = failed.document_id
    assert shown[:9] == told if isinstance(told, str) and len(told) == 9 else shown == told


def test_documents_without_an_id_get_the_same_one_in_every_delivery():
    documents: list[dict[str, Any]] = [{"a": 1}, {"_id": "own", "a": 2}, {"a": 3}]

    first, second = with_ids("task", documents), with_ids("task", documents)

    assert first == second
    assert [one["_id"] for one in first] == ["task-0", "own", "task-2"]
    assert with_ids("other", documents)[0]["_id"] != first[0]["_id"]


def test_what_is_not_an_object_passes_through_to_be_refused_with_its_index():
    odd: Any = [5, [1]]

    assert with_ids("task", odd) == odd


def test_a_store_shows_no_credentials():
    assert repr(Store("mongodb://user:secret@localhost/papers")) == "<Store papers idle>"


class Answering(Store):
    """Has every document stored, by no MongoDB."""

    async def _insert(self, collection: str, batches: Sequence[Batch]) -> Sequence[Answer]:
        return [Inserted() for _ in batches]


async def test_a_huge_batch_is_encoded_in_turns_and_each_document_keeps_its_place():
    store = Answering("mongodb://127.0.0.1:1/none")
    batch: list[dict[str, Any]] = [{"_id": number} for number in range(5_000)]
    bad = (3, 777, 4_999)
    for index in bad:
        batch[index] = {"_id": index, "n": 2**63}
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    beside = asyncio.create_task(take_turns())
    outcome = await store.insert_documents("papers", batch)
    beside.cancel()
    store.close()

    assert [(one.index, one.document_id) for one in outcome.failed] == [(at, at) for at in bad]
    assert outcome.stored == len(batch) - len(bad)
    assert turns >= 8
