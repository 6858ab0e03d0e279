"""Lines of a stream, whatever its chunks, each within its bound."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.decoding.ndjson import LineSplitter
from gateway.decoding.splitter import TOO_LONG, WHITESPACE

LINES = (
    st.binary(max_size=40).map(lambda data: data.replace(b"\n", b" "))
    | st.sampled_from([b"", b" ", b"\r"])
    | st.text(" \t\r", max_size=100).map(str.encode)
)
BOUNDS = st.integers(1, 40) | st.integers(60, 90)


def split(body: bytes, sizes: list[int], max_line_bytes: int) -> list[bytes]:
    splitter = LineSplitter(max_line_bytes)
    parts: list[list[bytes] | int] = []
    for size in sizes:
        parts += splitter.feed(body[:size])
        body = body[size:]
    parts += [*splitter.feed(body), *splitter.end()]
    return [line for part in parts for line in ([b""] * part if isinstance(part, int) else part)]


def dense(given: tuple[list[bytes], int]) -> list[bytes]:
    """Lines among many blank ones."""
    lines, blank = given
    return [*[b""] * blank, *lines, *[b""] * blank]


@given(
    st.lists(LINES) | st.tuples(st.lists(LINES), st.integers(60, 300)).map(dense),
    st.lists(st.integers(0, 50)),
    BOUNDS,
    st.booleans(),
)
def test_lines_are_those_between_newlines_and_long_ones_are_marked(lines, sizes, bound, ended):
    body = b"\n".join(lines) + (b"\n" if ended else b"")
    expected = body.split(b"\n")
    if not expected[-1]:
        expected.pop()

    found = split(body, sizes, bound)

    assert [line is TOO_LONG for line in found] == [
        len(line.removesuffix(b"\r")) > bound for line in expected
    ]
    assert [line.strip(WHITESPACE) for line in found if line is not TOO_LONG] == [
        line.strip(WHITESPACE) for line in expected if len(line.removesuffix(b"\r")) <= bound
    ]


@pytest.mark.parametrize("sizes", [[], [3], [11], [12], [13]])
def test_the_cr_of_a_newline_is_no_part_of_a_lines_length(sizes):
    body = b"0123456789\r\n0123456789a\r\n{}\n"
    assert split(body, sizes, 10) == [b"0123456789", TOO_LONG, b"{}"]


RUNS = st.tuples(
    st.sampled_from([b"", b"", b" ", b"\t\r", b"{}", b" {} "]),
    st.sampled_from([1, 1, 2, 63, 64, 99]),
)


@given(st.lists(RUNS, max_size=20))
def test_blank_lines_are_counted_whatever_stands_between_them(runs):
    lines = [line for line, times in runs for _ in range(times)]
    body = b"\n".join([*lines, b"x"])

    assert [line.strip() for line in split(body, [], 10)] == [line.strip() for line in lines] + [
        b"x"
    ]


def test_a_line_without_end_is_not_held_beyond_its_bound():
    splitter = LineSplitter(1000)

    for _ in range(1000):
        assert not [*splitter.feed(b"x" * 900)]

    assert splitter.pending_bytes <= 1000
    assert [*splitter.feed(b"x\nnext\n")] == [[TOO_LONG], [b"next"]]
