"""A document is judged alike by the gateway, which reads its JSON, and by a worker that gets it."""

import json
import re
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ingesting.checker import DocumentChecker
from gateway.ingesting.document_faults import find_fault
from penstock.wire.document_rules import COLLECTION_PATTERN, MAX_DOCUMENT_BYTES, collection_fault
from tasks.documents import unchecked_fault
from tasks.encoding import encode


def nested(depth: int) -> Any:
    value: Any = {}
    for _ in range(depth - 1):
        value = [value]
    return {"a": value}


GOOD: tuple[Any, ...] = (
    {}, {"a": 1}, {"_id": {"k": 1}, "n": 2**63 - 1, "m": -(2**63)}, {"a.b": {"c$": "$x"}},
    {"__type__": "datetime", "__value__": "x"}, nested(99), {"é": "😀", "t": "\x00"},
    {"a": [True, None, 1.5, [], {}]},
)  # fmt: skip
BAD: tuple[Any, ...] = (
    5, None, "text", [1], {"$a": 1}, {"a": [{"$b": 1}]}, {"a\x00b": 1}, {"n": 2**63},
    {"n": [-(2**63) - 1]}, {"n": float("nan")}, {"n": {"m": [float("-inf")]}}, {"s": "\ud800"},
    {"\udfff": 1}, nested(101), {"_id": None}, {"_id": [1]}, {"s": "x" * MAX_DOCUMENT_BYTES},
)  # fmt: skip


def by_gateway(document: Any) -> str | None:
    """Return where and what the gateway finds."""
    checked = DocumentChecker(MAX_DOCUMENT_BYTES).check([json.dumps(document).encode()], 1)
    if not checked.rejected:
        return None
    fault = checked.rejected[0].fault
    return f"{fault.at}: {fault.detail}"


@pytest.mark.parametrize("document", GOOD, ids=repr)
def test_a_good_document_is_good_for_both_and_for_bson(document):
    assert by_gateway(document) is None
    assert unchecked_fault(document) is None
    assert bson.encode(document)


@pytest.mark.parametrize("document", BAD, ids=lambda one: repr(one)[:40])
def test_a_bad_document_is_bad_for_both_with_the_same_words(document):
    found = unchecked_fault(document)

    assert found is not None
    assert found == by_gateway(document)


KEYS = st.text(max_size=3) | st.sampled_from(("$a", "\x00", "\ud800", "_id"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from((2**63, "\udfff", -(2**63))),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(document=st.dictionaries(KEYS, VALUES, max_size=4))
def test_any_document_is_judged_alike(document):
    found = unchecked_fault(document)

    assert (found is None) is (by_gateway(document) is None)
    if "_id" not in document:
        fault = find_fault(json.dumps(document).encode(), MAX_DOCUMENT_BYTES)
        assert found == (fault and f"{fault.at}: {fault.detail}")


def test_values_of_python_clients_are_kept():
    document = {"_id": uuid4().hex, "at": datetime.now(UTC), "raw": b"\x00", "pair": (1, 2)}

    encoded, failed = encode([document], unchecked_fault)

    assert (len(encoded), failed) == (1, [])


def test_a_bad_document_costs_no_other():
    documents: list[Any] = [{"_id": "a"}, {"_id": "b", "$x": 1}, 5, {"_id": "c"}]

    encoded, failed = encode(documents, unchecked_fault)

    assert [index for index, _ in encoded] == [0, 3]
    assert [(one.index, one.document_id, one.detail) for one in failed] == [
        (1, "b", "$.$x: the key starts with '$'"),
        (2, None, "$: a document is a JSON object"),
    ]


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("papers", True), ("a-B_9", True), ("a" * 64, True), ("system.js", False),
        ("system.users", False), ("a" * 65, False), ("", False), ("a\n", False), ("a.b", False),
        ("$cmd", False), ("a\x00", False), ("é", False), ("\ud800", False), (5, False),
        (None, False), (["a"], False),
    ],
)  # fmt: skip
def test_a_collection_has_a_name_of_the_pattern(name, good):
    assert (collection_fault(name, re.compile(COLLECTION_PATTERN)) is None) is good


def test_no_pattern_opens_the_collections_of_mongodb():
    assert collection_fault("system.js", re.compile(".*")) is not None
    assert collection_fault("a.b", re.compile(".*")) is None
    assert collection_fault("é" * 101, re.compile(".*")) is not None
