"""Fair shares: who holds more than its share is refused first, whoever comes late gets in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Problem
from gateway.sharing.held_bytes import HeldBytes
from gateway.sharing.shares import Shares

MOST, MOST_BYTES = 100, 1000


def fill(shares: Shares, tenant: str, size: int = 1, at_most: int = 10_000) -> int:
    """How many messages a tenant gets in until it is refused."""
    count = 0
    while count < at_most and shares.admit(tenant, size, MOST, MOST_BYTES):
        shares.take(tenant, size)
        count += 1
    return count


def test_a_lone_tenant_may_have_all_of_it_and_no_more():
    assert fill(Shares(), "a") == MOST
    assert fill(Shares(), "a", size=50) == MOST_BYTES // 50


def test_a_newcomer_gets_in_where_another_filled_everything():
    shares = Shares()
    fill(shares, "flood")

    assert fill(shares, "late") == MOST // 4
    assert fill(shares, "flood") == 0


def test_a_flooder_comes_back_once_it_is_within_its_share():
    shares = Shares()
    fill(shares, "flood")
    shares.take("late", 1)
    for _ in range(MOST // 2):
        assert not shares.admit("flood", 1, MOST, MOST_BYTES)
        shares.give_back("flood", 1)
    shares.give_back("flood", 1)

    assert shares.admit("flood", 1, MOST, MOST_BYTES)


def test_below_half_of_the_bound_nobody_is_refused():
    shares = Shares()
    for tenant in range(10):
        shares.take(str(tenant), 1)

    assert fill(shares, "flood") == MOST // 2 - 10


def test_bytes_are_shared_like_messages():
    shares = Shares()
    fill(shares, "flood", size=100)

    assert shares.admit("late", 100, MOST, MOST_BYTES)
    assert not shares.admit("flood", 100, MOST, MOST_BYTES)


def test_a_message_larger_than_the_share_gets_in_when_nothing_else_is_in_flight_for_it():
    shares = Shares()
    for tenant in range(20):
        shares.take(str(tenant), 30)

    assert shares.admit("large", 200, MOST, MOST_BYTES)
    shares.take("large", 200)
    assert not shares.admit("large", 1, MOST, MOST_BYTES)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 400), st.booleans())))
def test_whatever_happens_the_counts_are_right_and_the_excess_is_bounded(steps):
    shares = Shares()
    inflight: list[tuple[str, int]] = []
    for tenant, size, ends in steps:
        if ends and inflight:
            shares.give_back(*inflight.pop(0))
        elif shares.admit(tenant, size, MOST, MOST_BYTES):
            shares.take(tenant, size)
            inflight.append((tenant, size))
        assert shares._count == len(inflight) <= MOST * 5 // 4
        assert shares._size == sum(size for _, size in inflight) <= MOST_BYTES * 5 // 4
        if shares.has_room(tenant, size, MOST, MOST_BYTES):
            assert shares.admit(tenant, size, MOST, MOST_BYTES)
    for held in inflight:
        shares.give_back(*held)
    assert not shares._holdings


def test_bytes_in_memory_are_bounded_and_shared():
    held = HeldBytes(1000)
    held.hold("flood", 1000)
    with pytest.raises(Problem) as refused:
        held.hold("flood", 1)
    held.hold("late", 250)
    with pytest.raises(Problem):
        held.hold("late", 1)

    assert (refused.value.code, refused.value.queued) == ("overloaded", "no")
    held.hold("flood", -1000)
    held.hold("late", -250)
    assert held.total == 0
    assert not held._held
