"""Lines of a stream, whatever its chunks, each within its bound."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.ingest.ndjson import TOO_LONG, LineSplitter


def split(body: bytes, sizes: list[int], max_line_bytes: int) -> list[bytes]:
    splitter = LineSplitter(max_line_bytes)
    lines = []
    for size in sizes:
        lines += splitter.feed(body[:size])
        body = body[size:]
    return lines + splitter.feed(body) + splitter.end()


@given(
    st.lists(st.binary(max_size=40).map(lambda data: data.replace(b"\n", b" "))),
    st.lists(st.integers(0, 50)),
    st.integers(1, 40),
    st.booleans(),
)
def test_lines_are_those_between_newlines_and_long_ones_are_marked(lines, sizes, bound, ended):
    body = b"\n".join(lines) + (b"\n" if ended else b"")
    expected = body.split(b"\n")
    if not expected[-1]:
        expected.pop()

    found = split(body, sizes, bound)

    assert [line is TOO_LONG for line in found] == [len(line) > bound for line in expected]
    assert [line for line in found if line is not TOO_LONG] == [
        line for line in expected if len(line) <= bound
    ]


def test_a_line_without_end_is_not_held_beyond_its_bound():
    splitter = LineSplitter(1000)

    for _ in range(1000):
        splitter.feed(b"x" * 900)

    assert sum(map(len, splitter._parts)) <= 1000
    assert splitter.feed(b"x\nnext\n") == [TOO_LONG, b"next"]
