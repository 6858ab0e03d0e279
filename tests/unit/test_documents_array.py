"""Arrays are cut into elements as they stream in, whatever the chunks."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.decoding.json_array import ArraySplitter
from gateway.decoding.splitter import TOO_LONG, MalformedBodyError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='ab"\\{}[],: \n\x00é', max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=12,
)


def chunks_of(body: bytes, sizes: list[int]) -> list[bytes]:
    chunks = []
    for size in sizes:
        chunks.append(body[:size])
        body = body[size:]
    return [*chunks, body]


def split(body: bytes, sizes: list[int], max_element_bytes: int = 1 << 20) -> list[bytes]:
    splitter = ArraySplitter(max_element_bytes, piece_bytes=1)
    elements = [
        raw for chunk in chunks_of(body, sizes) for part in splitter.feed(chunk) for raw in part
    ]
    return elements + [raw for part in splitter.end() for raw in part]


@given(
    st.lists(VALUES, max_size=12),
    st.lists(st.integers(0, 60), max_size=12),
    st.sampled_from([None, 0, 1, 2]),
    st.booleans(),
)
def test_elements_are_those_that_a_parser_sees(values, sizes, indent, ascii_only):
    body = json.dumps(values, indent=indent, ensure_ascii=ascii_only).encode()

    assert [json.loads(raw) for raw in split(body, sizes)] == values


@given(
    st.lists(VALUES, min_size=1, max_size=6),
    st.lists(st.integers(0, 60), max_size=12),
    st.integers(2, 40),
)
def test_an_element_over_its_bound_is_passed_over_and_costs_no_other(values, sizes, bound):
    body = json.dumps(values, separators=(",", ":")).encode()
    texts = [json.dumps(value, separators=(",", ":")).encode() for value in values]

    found = split(body, sizes, bound)

    assert [raw is TOO_LONG for raw in found] == [len(text) > bound for text in texts]
    assert [raw for raw in found if raw is not TOO_LONG] == [t for t in texts if len(t) <= bound]


@given(st.text(alphabet='[]{},"\\1 a', max_size=20), st.lists(st.integers(0, 9), max_size=5))
def test_what_is_no_array_is_refused_or_ends_in_an_element_that_does_not_parse(text, sizes):
    body = text.encode()
    try:
        expected = json.loads(body)
    except ValueError:
        expected = None
    try:
        found = [json.loads(raw) for raw in split(body, sizes)]
    except (MalformedBodyError, ValueError):
        found = None

    assert found == (expected if isinstance(expected, list) else None)


@example("\\[,1],2", [3])
@example('\\",1",2', [3])
@given(st.text(alphabet='",\\1 a', max_size=30), st.lists(st.integers(0, 9), max_size=5))
def test_stray_quotes_and_escapes_are_cut_alike_whatever_the_chunks(text, sizes):
    def outcome(sizes: list[int]) -> list[bytes] | None:
        try:
            return split(f"[{text}]".encode(), sizes)
        except MalformedBodyError:
            return None

    assert outcome(sizes) == outcome([])


@pytest.mark.parametrize("size", [1 << 10, 1 << 16, 1 << 18])
def test_nested_objects_that_defeat_the_guess_are_still_cut_in_linear_time(size):
    value = {"items": [{"id": n, "text": "},{"} for n in range(40)]}
    body = json.dumps([value] * 800).encode()

    assert split(body, [size] * (len(body) // size)) == [json.dumps(value).encode()] * 800


@given(
    st.lists(st.sampled_from(["\\", '"', "a", "},{"]), max_size=30).map("".join),
    st.lists(st.integers(1, 5), max_size=30),
)
def test_a_long_element_is_followed_through_its_escapes_from_chunk_to_chunk(text, sizes):
    value = "x" * 20_000 + text
    body = json.dumps([value, 1]).encode()

    assert [json.loads(raw) for raw in split(body, [19_998, *sizes])] == [value, 1]
    assert split(body, [19_998, *sizes], max_element_bytes=1000) == [TOO_LONG, b"1"]
