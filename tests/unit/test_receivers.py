"""Places for calls: how many a receiver gets, when its events come again, what is remembered."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from gateway.endings.callback_post import CallbackFailedError
from gateway.endings.receivers import (
    LONGEST_PUT_OFF_S,
    ReceiverBusyError,
    Receivers,
    receiver_of,
)

URL = "https://hooks.example/a"


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def receivers(clock: Clock) -> Receivers:
    return Receivers(clock, wait_s=0)


async def answer(receivers: Receivers, url: str = URL, status: int = 204) -> None:
    async with receivers.calling(url):
        if status != 204:
            raise CallbackFailedError("no", answered=True)


async def hang(receivers: Receivers, url: str = URL) -> None:
    with pytest.raises(CallbackFailedError):
        async with receivers.calling(url):
            raise CallbackFailedError("TimeoutError")


@asynccontextmanager
async def calls(receivers: Receivers, *urls: str) -> AsyncIterator[list[str]]:
    """Begin a call of each URL that gets a place; they hang."""
    begun = []
    async with AsyncExitStack() as stack:
        for url in urls:
            try:
                await stack.enter_async_context(receivers.calling(url))
            except ReceiverBusyError:
                continue
            begun.append(url)
        yield begun


def busy_s(error: pytest.ExceptionInfo[ReceiverBusyError]) -> int:
    return error.value.delay_s


async def put_off(receivers: Receivers, url: str = URL) -> int:
    with pytest.raises(ReceiverBusyError) as busy:
        await answer(receivers, url)
    return busy_s(busy)


async def test_an_unknown_receiver_gets_eight_places_and_one_that_answers_32(receivers, clock):
    async with AsyncExitStack() as hanging:
        for _ in range(8):
            await hanging.enter_async_context(receivers.calling(URL))
        assert await put_off(receivers) == 1
    await answer(receivers)

    async with AsyncExitStack() as hanging:
        for _ in range(32):
            await hanging.enter_async_context(receivers.calling(URL))
        assert await put_off(receivers) == 1


async def test_a_silent_receiver_gets_one_call_at_growing_intervals_until_it_answers(
    receivers, clock
):
    for interval_s in (5, 10, 20, 40, 60, 60):
        await hang(receivers)
        clock.now += interval_s - 1
        assert await put_off(receivers) == 2
        clock.now += 1
    async with calls(receivers, *[URL] * 10) as begun:
        assert len(begun) == 1

    async with calls(receivers, *[URL] * 10) as begun:
        assert len(begun) == 10


async def test_calls_that_fail_together_are_one_failure(receivers, clock):
    async def fail(over: asyncio.Event) -> None:
        async with receivers.calling(URL):
            await over.wait()
            clock.now += 1
            raise CallbackFailedError("TimeoutError")

    over = asyncio.Event()
    together = [asyncio.create_task(fail(over)) for _ in range(8)]
    await asyncio.sleep(0)
    over.set()
    await asyncio.wait(together)
    clock.now += 5

    await answer(receivers)


async def test_a_receiver_counts_as_silent_after_two_calls_without_an_answer(receivers, clock):
    silent = []
    for _ in range(2):
        await hang(receivers)
        with pytest.raises(ReceiverBusyError) as busy:
            await answer(receivers)
        silent.append(busy.value.silent)
        clock.now += 5

    assert silent == [False, True]


async def test_a_receiver_that_could_not_be_called_is_not_silent(receivers):
    await answer(receivers)
    with pytest.raises(CallbackFailedError):
        async with receivers.calling(URL):
            raise CallbackFailedError("NotLookedUpError", answered=None)

    await answer(receivers)


async def test_an_answer_that_is_no_2xx_makes_nobody_silent(receivers, clock):
    with pytest.raises(CallbackFailedError):
        await answer(receivers, status=500)

    async with calls(receivers, *[URL] * 10) as begun:
        assert len(begun) == 10


async def test_a_receiver_that_takes_seconds_gets_eight_places(receivers, clock):
    for _ in range(20):
        async with receivers.calling(URL):
            clock.now += 5

    async with calls(receivers, *[URL] * 20) as begun:
        assert len(begun) == 8


async def test_receivers_that_hang_leave_the_places_of_others(receivers, clock):
    good = "https://good.example/"
    await answer(receivers, good)
    names = [f"https://{n}.example/" for n in range(100)]
    async with calls(receivers, *[name for name in names for _ in range(8)]) as unknown:
        assert len(set(unknown)) == 64
        assert 64 + 16 <= len(unknown) <= 64 + 20
        async with calls(receivers, *[good] * 40) as begun:
            assert len(begun) == 32
        assert 1 <= await put_off(receivers) <= 10


async def test_a_receiver_of_which_all_events_are_put_off_is_not_remembered(receivers):
    names = [f"https://{n}.example/" for n in range(2000)]
    async with calls(receivers, *names) as begun:
        assert len(receivers) == len(begun) == 64


async def test_the_longer_the_backlog_the_longer_the_delay(receivers, clock):
    async with calls(receivers, *[URL] * 8):
        clock.now += 2
        delays = [await put_off(receivers) for _ in range(1000)]
        assert delays == sorted(delays)
        assert max(delays.count(one) for one in set(delays)) <= 11  # that many in a second
        more = [await put_off(receivers) for _ in range(50_000)]

    assert (delays[0], delays[-1], more[-1]) == (1, 100, LONGEST_PUT_OFF_S)


async def test_what_comes_when_a_receiver_is_well_again_does_not_wait_behind_its_backlog(
    receivers, clock
):
    async with calls(receivers, *[URL] * 8):
        for _ in range(1000):
            await put_off(receivers)
    async with AsyncExitStack() as hanging:
        for _ in range(32):
            await hanging.enter_async_context(receivers.calling(URL))
        assert await put_off(receivers) == 1


async def test_a_call_waits_for_a_place_that_is_free_in_a_moment():
    receivers = Receivers()
    async with AsyncExitStack() as others:
        for _ in range(8):
            await others.enter_async_context(receivers.calling(URL))
        ninth = asyncio.create_task(answer(receivers))
        await asyncio.sleep(0)
        assert not ninth.done()

    await ninth


async def test_receivers_are_forgotten_but_for_those_with_a_call(receivers, clock):
    others = [f"https://{n}.example/" for n in range(3000)]
    async with receivers.calling(URL):
        for other in others:
            await answer(receivers, other)
        assert len(receivers) == 1 + 1024
        async with calls(receivers, *[URL] * 10) as begun:
            assert len(begun) == 7
    for other in others:
        await answer(receivers, other)

    async with calls(receivers, *[URL] * 10) as begun:
        assert len(begun) == 8  # as one that was never called


async def test_silent_receivers_make_it_forget_silent_ones_only(receivers):
    await answer(receivers)
    for n in range(3000):
        await hang(receivers, f"https://{n}.example/")

    assert len(receivers) == 1 + 1024
    async with calls(receivers, *[URL] * 10) as begun:
        assert len(begun) == 10


def test_a_receiver_is_scheme_host_and_port():
    same = ("https://a.example/x", "https://A.example:443/y?z", "https://u:p@a.example#f")
    others = ("http://a.example/x", "https://a.example:8443/x", "https://b.example/", "http://[/")

    assert {receiver_of(url) for url in same} == {"https://a.example"}
    assert len({receiver_of(url) for url in (*same, *others)}) == 5
