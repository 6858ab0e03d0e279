"""Document checks against a slow, obvious oracle: the standard library's parser and a walk."""

import hashlib
import json
import math
import re
import time

import msgspec
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from gateway.decoding.splitter import TOO_LONG
from gateway.decoding.steps import at_once
from gateway.ingesting.checker import CheckedSlice, DocumentChecker
from gateway.ingesting.document_faults import find_fault
from gateway.ingesting.document_ids import DocumentIds

BOUND = 4096


def sound(value: object, depth: int = 1) -> bool:
    """Whether MongoDB may get a value, told by walking over all of it."""
    match value:
        case dict():
            return depth <= 100 and all(
                not key.startswith("$")
                and "\x00" not in key
                and sound(key)
                and sound(member, depth + 1)
                for key, member in value.items()
            )
        case list():
            return depth <= 100 and all(sound(member, depth + 1) for member in value)
        case str():
            return not any("\ud800" <= char <= "\udfff" for char in value)
        case bool() | None:
            return True
        case int():
            return -(1 << 63) <= value < 1 << 63
        case float():
            return math.isfinite(value)
    raise AssertionError(value)


def oracle(raw: bytes) -> bool:
    """Whether a document may be stored."""
    if len(raw) > BOUND:
        return False
    try:
        document = json.loads(raw.decode())
    except (ValueError, RecursionError):
        return False
    identified = isinstance(document, dict) and not (
        "_id" in document and (document["_id"] is None or isinstance(document["_id"], list))
    )
    return identified and sound(document)


CHARS = st.sampled_from(["a", "$", "\x00", "\\", '"', "é", "\U0001f30a", "\ud800", "{", "1", "e"])
TEXT = st.lists(CHARS, max_size=6).map("".join)
EDGES = st.sampled_from(
    [2**63, 2**63 - 1, -(2**63), -(2**63) - 1, 2**64, 10**19, 10**18, 10**400, -1, 10**30]
)
FLOATS = st.floats() | st.sampled_from([0.1 + 0.2, 1e308, 5e-324, 1.2345678901234567e300])
SCALARS = st.none() | st.booleans() | st.integers() | EDGES | FLOATS | TEXT
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3)
)


def nested(value: object, levels: int, kind: str) -> object:
    for _ in range(levels):
        value = [value] if kind == "list" else {"a": value}
    return value


DEEP = st.builds(nested, VALUES, st.integers(95, 104), st.sampled_from(["list", "dict"]))
DOCUMENTS = st.dictionaries(TEXT | st.just("_id"), VALUES | DEEP, max_size=5)


@st.composite
def raws(draw: st.DrawFn) -> bytes:
    """JSON of a document or near one: escaped or not, odd white space, broken at times."""
    value = draw(DOCUMENTS | VALUES)
    text = json.dumps(
        value,
        ensure_ascii=draw(st.booleans()),
        indent=draw(st.sampled_from([None, None, 1])),
        separators=draw(st.sampled_from([None, (",", ":")])),
    )
    if draw(st.booleans()):
        text = text.replace("$", "\\u0024")
    raw = text.encode("utf-8", "surrogatepass").replace(b"\n", draw(st.sampled_from([b" ", b"\r"])))
    if draw(st.integers(0, 9)) == 0 and raw:
        at = draw(st.integers(0, len(raw) - 1))
        broken = draw(st.sampled_from([b"", b"\xff", b"0", b'"', b"}", b"\\", b"."]))
        raw = raw[:at] + broken + raw[at + 1 :]
    return draw(st.sampled_from([b"", b"", b" ", b"\t"])) + raw


@given(st.lists(raws(), min_size=1, max_size=6))
@example([b'{"a":' + b"1" * 19 + b"}", b'{"a":-9223372036854775808}'])
@example([b'{"a":0.1234567890123456789012}', b'{"a":1E400}', b'{"a":{"$b":1},"a":2}'])
@example([b'{"a":"\\u0000","b":"$5","c":"\\u0024"}', b'{"\\u0000":1}', b'{"a":"\\\\u0000"}'])
def test_good_documents_are_those_of_the_oracle_and_keep_their_bytes(documents):
    # An object that repeats a key hides a member: refusing what is hidden is allowed.
    repeated = re.compile(rb'"a":\{"\$b":1\},"a"')
    expected = [
        raw for raw in documents if oracle(raw) and not repeated.search(raw) and raw.strip()
    ]
    blank = sum(not raw.strip(b" \t\r\n") for raw in documents)

    checked = DocumentChecker(BOUND).check(documents, 1)

    assert len(checked.documents) == len(checked.ids) == len(expected)
    assert len(checked.rejected) == len(documents) - len(expected) - blank
    for raw, kept, kept_id in zip(expected, checked.documents, checked.ids, strict=True):
        before, after = json.loads(raw), json.loads(kept)
        assert after["_id"] == json.loads(kept_id)
        if "_id" in before:
            assert kept == raw
        else:
            assert isinstance(after.pop("_id"), str)
            assert json.dumps(after) == json.dumps(before)
            assert kept.endswith(raw.lstrip()[1:])


def test_faults_tell_line_and_place():
    lines = [b'{"a":1}', b"", b'{"a":[{"b":{"$c":1}}]}', TOO_LONG, b'{"a":[1,NaN]}', b'{"a":1']

    rejected = DocumentChecker(BOUND).check(lines, 10).rejected

    assert [(one.line, one.fault.at) for one in rejected] == [
        (12, "$.a[0].b.$c"), (13, "$"), (14, "$.a[1]"), (15, "$"),
    ]  # fmt: skip
    assert [one.fault.malformed for one in rejected] == [False, False, False, True]


def test_nanosecond_timestamps_and_long_fractions_are_good():
    lines = [
        b'{"at":1769860800123456789,"x":0.30000000000000004441}',
        b'{"at":9223372036854775807}',
    ]

    assert len(DocumentChecker(BOUND).check(lines, 1).documents) == 2


def test_a_derived_id_is_the_hash_of_the_canonical_values():
    checker = DocumentChecker(BOUND, ("site", "at"))
    same = [
        b'{"site":"caf\\u00e9","at":{"y":1,"x":2}}',
        '{"at":{"x":2,"y":1},"site":"café"}'.encode(),
    ]
    canonical = '["café",{"x":2,"y":1}]'.encode()

    ids = checker.check(same, 1).ids

    assert set(ids) == {b'"%b"' % hashlib.sha256(canonical).hexdigest()[:32].encode()}
    [rejected] = checker.check([b'{"site":1}'], 1).rejected
    assert rejected.fault.at == "$.at"


def test_a_key_field_that_is_null_is_refused_as_a_null_id_is():
    lines = [b'{"site":1,"at": null }', b'{"site":1,"at":[null]}', b'{"site":1,"at":"null"}']
    large = at_once(DocumentChecker(BOUND, ("at",)).check_large(lines[0], 1))
    checked = DocumentChecker(BOUND, ("site", "at")).check(lines, 1)

    for found in (checked, large):
        [rejected] = found.rejected
        assert (rejected.fault.at, rejected.fault.detail) == ("$.at", "the key field 'at' is null")
    assert len(checked.documents) == 2


def test_new_ids_are_uuid7_and_never_repeat():
    ids = DocumentIds()
    made = [json.loads(ids.next()) for _ in range(20_000)]

    assert len(set(made)) == len(made)
    shape = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
    assert all(re.fullmatch(shape, one) for one in made)
    assert [one[:13] for one in made] == sorted(one[:13] for one in made)


@pytest.mark.parametrize("size", [BOUND - 1, BOUND, BOUND + 1])
def test_the_bound_of_a_document_is_exact(size):
    raw = b'{"a":"' + b"x" * (size - 8) + b'"}'
    assert len(raw) == size

    assert len(DocumentChecker(BOUND).check([raw], 1).documents) == (size <= BOUND)


def check_large(checker: DocumentChecker, raw: bytes) -> tuple[CheckedSlice, float]:
    """The verdict, and the CPU seconds of its slowest step."""
    steps = checker.check_large(raw, 1)
    slowest = 0.0
    while True:
        started = time.thread_time()
        try:
            next(steps)
        except StopIteration as end:
            checked = end.value
            return checked, max(slowest, time.thread_time() - started)
        slowest = max(slowest, time.thread_time() - started)


@given(raws().filter(lambda raw: raw.strip()))
@example(b'{"a":1e400}')
@example(b'{"a":"\\ud83d\\ude00","b":"\\u0000","c":-9223372036854775808}')
@example(b'{"\\u0024":1}')
@example(b'{"a":["$b",{"c":"$d"}],"_id":"x"}')
@example(b'{"a":"\xff"}')
@example(b"{ }")
def test_a_large_document_is_judged_as_a_small_one(raw):
    checked, _ = check_large(DocumentChecker(BOUND), raw)

    assert len(checked.documents) + len(checked.rejected) == 1
    assert bool(checked.documents) == oracle(raw)
    for kept in checked.documents:
        before, after = json.loads(raw), json.loads(kept)
        assert {**before, "_id": after["_id"]} == after


PIECES = st.sampled_from(
    ["x", "$", "{", "é", '\\"', "\\\\", "\\n", "\\u0000", "\\ud83d\\ude00", "\\ud800"]
)
LONG_TEXTS = st.lists(
    st.tuples(PIECES, st.sampled_from([1, 2, 63, 64, 65, 256, 257])).map(
        lambda one: one[0] * one[1]
    ),
    max_size=4,
).map("".join)


@given(LONG_TEXTS, LONG_TEXTS, st.sampled_from(["", " ", "\n\t"]))
@example("x" * 300, "\\" * 600 + '\\"', " ")
@example("$" * 257, "", "")
@example("x" * 257 + "\\u0000", "", "\n\t")
@example("a", "x" * 257 + "\\ud800", "")
def test_long_texts_are_judged_as_short_ones(key, value, space):
    raw = f'{{"{key}"{space}:"{value}","n":99999999999999999999}}'.encode()
    good = raw.replace(b"9" * 20, b"9")
    for one in (raw, good):
        assume(len(one) <= BOUND)
        checked, _ = check_large(DocumentChecker(BOUND), one)
        assert bool(checked.documents) == oracle(one)


def test_a_large_document_never_holds_the_loop_for_long():
    numbers = b'{"a":[' + b",".join([b"1"] * 2_000_000) + b"]}"
    texts = b'{"a":[' + b",".join([b'"x\\n"'] * 600_000) + b"]}"
    one = b'{"a":"' + b"x" * 4_000_000 + b'"}'
    escapes = b'{"a":"' + b"\\n" * 2_000_000 + b'"}'
    for raw in (numbers, texts, one, escapes):
        leaps_s, slowest_s = [], []
        for _ in range(10):  # in turns, until both ran once without a neighbour on their processor
            leaps_s.append(seconds_to_skip(raw))
            checked, step_s = check_large(DocumentChecker(1 << 22), raw)
            slowest_s.append(step_s)
            assert not checked.rejected
            if min(slowest_s) < 4 * min(leaps_s):
                break

        # Nothing can be split off from one leap through the bytes; parsing numbers takes twenty.
        assert min(slowest_s) < 5 * min(leaps_s)


def seconds_to_skip(raw: bytes) -> float:
    started = time.thread_time()
    msgspec.json.decode(raw, type=_Nothing)
    return time.thread_time() - started


class _Nothing(msgspec.Struct):
    """Takes no member."""


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b'{"n":', "Expecting value (column 6)"),
        (b'{"n":1}{"n":2}', "Extra data (column 8)"),
        (b'{\n"n":\n', "Expecting value: line 3 column 1 (char 7)"),
    ],
)
def test_a_line_of_ndjson_has_no_second_line_number(raw, words):
    fault = find_fault(raw, BOUND)

    assert fault is not None
    assert fault.detail == f"not valid JSON: {words}"
