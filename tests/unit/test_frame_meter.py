"""What a WebSocket's client has sent and nobody has handled is counted, however it is cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Problem
from gateway.http.frame_meter import MAX_FRAGMENTS, FrameMeter

MASK = b"\x01\x02\x03\x04"


class Nothing:
    """A reader that keeps what it is fed."""

    def __init__(self) -> None:
        self.fed = b""
        self.ended = False

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.fed += data
        return False, b""

    def feed_eof(self) -> None:
        self.ended = True


def frame(size: int, *, opcode: int = 1, fin: bool = True) -> bytes:
    head = bytes([opcode | (0x80 if fin else 0)])
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 1 << 16:
        head += b"\xfe" + size.to_bytes(2, "big")
    else:
        head += b"\xff" + size.to_bytes(8, "big")
    return head + MASK + b"x" * size


class Budget:
    """Counts, up to a bound."""

    def __init__(self, most: int = 1 << 30) -> None:
        self.held = 0
        self.most = most

    def hold(self, size: int) -> None:
        if self.held + size > self.most:
            raise Problem("overloaded", "full")
        self.held += size


def metered(budget: Budget) -> tuple[FrameMeter, Nothing, list[Problem]]:
    reader, refused = Nothing(), list[Problem]()
    meter = FrameMeter(reader)
    meter.watch(budget.hold, refused.append)
    return meter, reader, refused


@given(
    st.lists(st.tuples(st.sampled_from([0, 1, 125, 126, 70_000]), st.booleans()), max_size=6),
    st.integers(0, 69_999),
    st.lists(st.integers(1, 90_000), max_size=20),
)
def test_what_is_counted_is_what_is_unfinished_and_unhandled(messages, begun, sizes):
    octets = b"".join(
        (frame(size, fin=False) + frame(3, opcode=9) + frame(1, opcode=0)) if split else frame(size)
        for size, split in messages
    )
    octets += frame(70_000)[: 14 + begun]
    budget = Budget()
    meter, reader, refused = metered(budget)
    rest = octets
    for size in sizes:
        meter.feed_data(rest[:size])
        rest = rest[size:]
    meter.feed_data(rest)

    assert reader.fed == octets
    assert not refused
    total = sum(size + split for size, split in messages) + begun
    assert abs(budget.held - total) <= 16 * 1024 + 512 * len(messages)
    for size, split in messages:
        if split:
            meter.handled(3)
        meter.handled(size + split)
    assert abs(budget.held - begun) <= 16 * 1024 + 512 * len(messages)
    meter.feed_eof()
    assert reader.ended
    assert budget.held == 0


def test_octets_without_room_end_the_socket_and_are_not_kept():
    budget = Budget(most=100_000)
    meter, reader, refused = metered(budget)
    meter.feed_data(frame(1 << 20)[:60_000])
    before = reader.fed

    assert meter.feed_data(b"x" * 60_000) == (True, b"")
    assert [problem.code for problem in refused] == ["overloaded"]
    assert meter.feed_data(b"x") == (True, b"")
    assert reader.fed == before
    assert budget.held == 0


@pytest.mark.parametrize(("frames", "refusals"), [(MAX_FRAGMENTS, 0), (MAX_FRAGMENTS + 1, 1)])
def test_a_message_has_a_bound_of_frames_too(frames, refusals):
    meter, _, refused = metered(Budget())

    meter.feed_data(frame(0, fin=False) * frames)

    assert len(refused) == refusals
