"""A batch with documents that no decoder reads: the others are as they were, those are named."""

import json
import random
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu.message import Message

from penstock.wire.headers import JSON_HEADER
from penstock.wire.ingest import STORE_TASK
from penstock.wire.json_meaning import DATA
from penstock.worker.consuming.guarded import read_body
from tasks.batch_salvage import UNREADABLE, salvage
from tasks.encoding import encode
from tasks.store import StoreOutcome
from tests.support.json_shapes import exact, spelled, tree

NOTHING = '{"callbacks":null,"errbacks":null,"chain":null,"chord":null}'
LONG = "1" * 5000
BAD = {
    f'{{"_id":"a","n":{LONG}}}': "a",
    f'{{"n":[{{"_id":5,"x":{LONG}}}],"_id" : 7}}': 7,
    f'{{"_id":{{"k":"x"}},"n":{LONG}}}': {"k": "x"},
    '{"_id":"d","n":' + "[" * 2000 + "]" * 2000 + "}": "d",
    '{"_id":"é\\"]","n":nope}': 'é"]',
    '{"n":"\\x"}': None,
    "nope": None,
    '{"a":{"_id":"inner"},"_id":"b","n":01}': None,
}
RANDOM = st.randoms(use_true_random=False)


def body(documents: list[str]) -> bytes:
    return f'[["papers",[{",".join(documents)}]],{{}},{NOTHING}]'.encode()


@given(RANDOM)
def test_good_documents_are_kept_and_bad_ones_named(rng: random.Random):
    good: list[Any] = [tree(rng) for _ in range(rng.randrange(6))]
    bad = [rng.choice(list(BAD)) for _ in range(rng.randrange(1, 4))]
    mixed = [(spelled(rng, one), one) for one in good] + [(one, None) for one in bad]
    rng.shuffle(mixed)

    [collection, documents], _, _ = salvage(body([text for text, _ in mixed]), DATA)

    assert collection == "papers"
    for (text, value), found in zip(mixed, documents, strict=True):
        if text in BAD:
            mark, reason, written = found
            assert mark == UNREADABLE
            assert reason
            assert json.loads(written or "null") == BAD[text]
        else:
            assert exact(found) == exact(value)


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"nope", b"[[", b"]", b'[["papers",[{}]],{}', b'[["papers",[{}}],{},{}]',
        f'[["papers",[{{}}]],{{"x":{LONG}}},{{}}]'.encode(),
        f"[[{LONG},[{{}}]],{{}},{{}}]".encode(),
    ],
)  # fmt: skip
def test_what_is_wrong_elsewhere_stays_wrong(raw: bytes):
    for body in (raw, raw.decode()):
        with pytest.raises((ValueError, RecursionError)):
            salvage(body, DATA)


@pytest.mark.parametrize("unit", ['\\"', '\\"[', '"', "\\", '{"', '","'])
def test_a_body_that_is_cut_off_takes_no_longer_than_it_is_long(unit: str):
    def took_s(times: int) -> float:
        cut = b'[["papers",[{"_id":"a","t":"' + (unit * times).encode()
        began = time.process_time()
        with pytest.raises((ValueError, RecursionError)):
            salvage(cut, DATA)
        return time.process_time() - began

    # The square of eight is 64; the least of five, since the machine has other work.
    short_s, long_s = (min(took_s(times) for _ in range(5)) for times in (2_000, 16_000))
    assert long_s < 24 * short_s + 0.01


def test_a_worker_names_the_document_and_stores_the_others():
    message = Message(
        body=body(['{"_id":1}', *list(BAD)[:2], '{"_id":{"__type__":"x","__value__":1}}']),
        content_type="application/json",
        content_encoding="utf-8",
        headers={"task": STORE_TASK, JSON_HEADER: DATA},
    )
    read_body(message, {STORE_TASK: salvage})
    documents = json.loads(json.dumps(message.payload))[0][1]  # as after a retry

    good, failed = encode(documents)
    told = StoreOutcome(stored=2, duplicates=0, failed=tuple(failed)).as_json()["failed"]

    assert [index for index, _ in good] == [0, 3]
    assert [(one["index"], one["_id"]) for one in told] == [(1, "a"), (2, 7)]
    assert all("digits" in one["detail"] for one in told)


def test_other_tasks_are_not_guessed_at():
    message = Message(
        body=body(list(BAD)), content_type="application/json", headers={"task": "demo.add"}
    )
    with pytest.raises((ValueError, RecursionError)):
        read_body(message, {STORE_TASK: salvage})
