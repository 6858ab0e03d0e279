"""Every publish ends in exactly one outcome, whatever order RabbitMQ speaks in."""

import asyncio
import time
from operator import itemgetter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Problem
from gateway.rabbitmq.burst import Burst
from gateway.rabbitmq.confirms import ConfirmWindow, InFlight

TIMEOUT_S = 9.5
"""Differs from every age below, however they are rounded."""


def window() -> tuple[ConfirmWindow, list[str]]:
    ends: list[str] = []
    return ConfirmWindow(lambda outcome, _latency_s: ends.append(outcome)), ends


def add(
    to: ConfirmWindow,
    name: str,
    *,
    queue_count: int | None = None,
    burst: Burst | None = None,
    at: float | None = None,
) -> "asyncio.Future[None]":
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    written_at = time.monotonic() if at is None else at
    to.add(InFlight(future, name, name, 10, written_at, queue_count, burst=burst))
    return future


def sorted_by_age(written: list[Any]) -> list[Any]:
    return sorted(written, key=itemgetter(0))


def refusal(future: "asyncio.Future[None]") -> tuple[str, str | None]:
    error = future.exception()
    assert isinstance(error, Problem)
    return error.code, error.queued


async def test_multiple_confirms_all_up_to_the_tag_and_no_more():
    waiting, ends = window()
    futures = [add(waiting, str(number)) for number in range(5)]

    waiting.confirm(3, multiple=True, ack=True)

    assert [future.done() for future in futures] == [True, True, True, False, False]
    assert ends == ["confirmed"] * 3
    assert (len(waiting), waiting.size) == (2, 20)


async def test_tag_zero_with_multiple_confirms_all():
    waiting, _ = window()
    futures = [add(waiting, str(number)) for number in range(3)]

    waiting.confirm(0, multiple=True, ack=True)

    assert all(future.done() for future in futures)


async def test_single_confirms_may_come_in_any_order():
    waiting, _ = window()
    futures = [add(waiting, str(number)) for number in range(3)]

    for tag in (2, 3, 1):
        waiting.confirm(tag, multiple=False, ack=True)

    assert all(future.done() and future.exception() is None for future in futures)
    assert waiting.size == 0


async def test_a_returned_message_is_unroutable_and_not_queued():
    waiting, ends = window()
    returned, kept = add(waiting, "a"), add(waiting, "b")

    waiting.mark_returned("a", "NO_ROUTE")
    waiting.confirm(2, multiple=True, ack=True)

    assert refusal(returned) == ("unroutable", "no")
    assert kept.exception() is None
    assert ends == ["returned", "confirmed"]


@pytest.mark.parametrize("queue_count", [1, 2])
async def test_a_message_that_comes_back_from_queues_that_match_found_their_nodes_down(queue_count):
    waiting, _ = window()
    returned = add(waiting, "a", queue_count=queue_count)

    waiting.mark_returned("a", "NO_ROUTE")
    waiting.confirm(1, multiple=False, ack=True)

    assert refusal(returned) == ("broker-unavailable", "no")


@pytest.mark.parametrize(
    ("queue_count", "expected"),
    [
        (None, ("queue-full", "no")),
        (1, ("queue-full", "no")),
        (2, ("unconfirmed", "unknown")),
    ],
)
async def test_a_nack_means_not_queued_only_when_one_queue_matches(queue_count, expected):
    waiting, _ = window()
    future = add(waiting, "a", queue_count=queue_count)

    waiting.confirm(1, multiple=False, ack=False)

    assert refusal(future) == expected


async def test_losing_the_channel_leaves_all_in_flight_unknown():
    waiting, ends = window()
    future = add(waiting, "a")

    waiting.lose()

    assert refusal(future) == ("unconfirmed", "unknown")
    assert ends == ["lost"]
    assert waiting.size == 0


async def test_a_late_confirm_after_the_deadline_changes_nothing_but_frees_the_window():
    waiting, ends = window()
    future = add(waiting, "a")
    waiting.sweep(time.monotonic(), -1.0)
    assert refusal(future) == ("unconfirmed", "unknown")
    assert len(waiting) == 1

    waiting.confirm(1, multiple=False, ack=True)

    assert len(waiting) == 0
    assert ends == ["timeout", "confirmed"]


async def test_a_sweep_spares_the_young_and_sees_them_later():
    waiting, _ = window()
    old = add(waiting, "old")
    edge = time.monotonic()
    young = add(waiting, "young")

    waiting.sweep(edge, 0.0)
    assert (old.done(), young.done()) == (True, False)
    waiting.sweep(time.monotonic(), -1.0)

    assert young.done()
    assert refusal(old) == refusal(young)


async def test_a_cancelled_waiter_does_not_disturb_the_others():
    waiting, _ = window()
    gone, stays = add(waiting, "gone"), add(waiting, "stays")
    gone.cancel()

    waiting.confirm(2, multiple=True, ack=True)

    assert stays.exception() is None


async def test_the_window_is_silent_from_a_deadline_passed_until_the_next_confirm():
    waiting, _ = window()
    early = add(waiting, "early")
    add(waiting, "late")
    silences = [waiting.silent]
    waiting.sweep(time.monotonic(), 0.0)
    silences.append(waiting.silent)
    waiting.confirm(2, multiple=False, ack=True)
    silences.append(waiting.silent)
    waiting.sweep(time.monotonic(), 0.0)
    silences.append(waiting.silent)

    assert silences == [False, True, False, False]
    assert refusal(early) == ("unconfirmed", "unknown")


async def test_a_burst_is_waited_for_as_long_as_it_goes_on():
    waiting, _ = window()
    now, burst = time.monotonic(), Burst()
    first = add(waiting, "first", burst=burst, at=now - 7)
    second = add(waiting, "second", burst=burst, at=now - 6)
    alone = add(waiting, "alone", at=now - 6)
    waiting.confirm(1, multiple=False, ack=True)  # now

    waiting.sweep(now, 5)
    assert (first.done(), second.done(), alone.done()) == (True, False, True)
    waiting.sweep(now + 4, 5)
    assert not second.done()
    assert not burst.stalled(now + 4, 5)

    waiting.sweep(now + 6, 5)
    assert refusal(second) == ("unconfirmed", "unknown")
    assert burst.stalled(now + 6, 5)
    assert not burst.stalled(now + 12, 5)


async def test_a_message_of_a_burst_that_is_overtaken_for_long_is_given_up():
    waiting, _ = window()
    now, burst = time.monotonic(), Burst()
    silent = add(waiting, "silent", burst=burst, at=now - 9)
    later = [add(waiting, f"{age}", burst=burst, at=now - age) for age in (6, 3)]
    waiting.confirm(2, multiple=False, ack=True)
    waiting.sweep(now, 5)
    assert not silent.done()

    waiting.confirm(3, multiple=False, ack=True)
    waiting.sweep(now, 5)

    assert refusal(silent) == ("unconfirmed", "unknown")
    assert [one.exception() for one in later] == [None, None]


async def test_a_confirm_that_comes_late_lets_a_stalled_burst_go_on():
    waiting, _ = window()
    now, burst = time.monotonic(), Burst()
    add(waiting, "a", burst=burst, at=now - 6)
    waiting.sweep(now - 0.5, 5)
    assert burst.stalled(now, 5)

    waiting.confirm(1, multiple=False, ack=True)

    assert not burst.stalled(now, 5)


@given(
    written=st.lists(
        st.tuples(st.integers(-30, 0), st.sampled_from([None, 0, 1]), st.booleans()), max_size=30
    ).map(sorted_by_age),
    sweeps=st.lists(st.integers(0, 40).map(lambda s: s + 0.25), min_size=1, max_size=6).map(sorted),
)
async def test_each_wait_ends_when_it_is_to(written, sweeps):
    now = time.monotonic()
    waiting, _ = window()
    bursts = {None: None, 0: Burst(), 1: Burst()}
    futures = [
        add(waiting, f"{n}", burst=bursts[burst], at=now + at)
        for n, (at, burst, _) in enumerate(written)
    ]
    for tag, (_, _, heard) in enumerate(written, 1):
        if heard:  # now
            waiting.confirm(tag, multiple=False, ack=True)

    def over(at: int, burst: int | None, swept_at: float) -> bool:
        """Whether a sweep finds that it has been waited for long enough."""
        reached = [one for one, its, heard in written if heard and its == burst]
        goes_on = burst is not None and reached and swept_at < TIMEOUT_S
        return swept_at - at >= TIMEOUT_S and not (goes_on and max(reached) <= at + TIMEOUT_S)

    ended = [False] * len(written)
    for swept_at in sweeps:
        waiting.sweep(now + swept_at, TIMEOUT_S)
        for n, (at, burst, heard) in enumerate(written):
            ended[n] = ended[n] or heard or over(at, burst, swept_at)
            assert futures[n].done() == ended[n]
            assert not ended[n] or (futures[n].exception() is None) == heard
    assert len(waiting) == sum(not heard for _, _, heard in written)
