"""What every background loop has in common, by one that the test breaks."""

import asyncio
import logging

import pytest

from penstock.backoff import LONGEST_WAIT_S, backoff_s
from penstock.looper import Faults, Looper, Loops, ThreadLooper
from tests.support.waiting import eventually


class Work:
    """A turn that raises what it is given."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.turns = 0

    async def turn(self) -> None:
        self.now()

    def now(self) -> None:
        self.turns += 1
        if self.error is not None:
            raise self.error


class UnprintableError(Exception):
    """Cannot even say what it is."""

    def __str__(self) -> str:
        raise ZeroDivisionError


def test_a_wait_doubles_up_to_the_longest_and_is_at_least_half_of_it():
    longest = [max(backoff_s(failures) for _ in range(100)) for failures in (0, 1, 2, 10_000)]
    shortest = [min(backoff_s(failures) for _ in range(100)) for failures in (0, 1, 2, 10_000)]

    assert all(most <= bound for most, bound in zip(longest, (0.05, 0.1, 0.2, 2.0), strict=True))
    assert all(
        least >= bound / 2 for least, bound in zip(shortest, (0.05, 0.1, 0.2, 2.0), strict=True)
    )
    assert all(least < most for least, most in zip(shortest, longest, strict=True))


ERRORS = [
    OSError("away"),
    RuntimeError("odd"),
    RecursionError("deep"),
    MemoryError(),
    UnprintableError(),
    asyncio.CancelledError(),
    TimeoutError(),
    AssertionError("x" * 10_000),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_a_loop_survives_says_so_and_recovers(error: BaseException, caplog):
    caplog.set_level(logging.INFO)
    work = Work()
    loops = Loops()
    looper = loops.add(Looper("work", work.turn, interval_s=0.01))
    running = asyncio.create_task(looper.run())
    await eventually(lambda: work.turns > 2)
    assert not loops.failing

    work.error = error
    await eventually(lambda: looper.failures > 3)
    [failing] = loops.failing
    assert (failing.loop, len(failing.error) <= 500) == ("work", True)
    assert failing.error.startswith(type(error).__name__)

    work.error = None
    await eventually(lambda: not loops.failing, timeout_s=LONGEST_WAIT_S + 1)
    assert not running.done()
    assert [record.message for record in caplog.records] == ["loop-failed", "loop-recovered"]
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_loop_that_is_cancelled_ends_even_where_a_library_makes_an_error_of_it():
    async def turn() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise OSError("connecting was cancelled") from None

    ended = asyncio.Event()

    async def at_end() -> None:
        ended.set()

    running = asyncio.create_task(Looper("stuck", turn, interval_s=0, at_end=at_end).run())
    await asyncio.sleep(0)
    running.cancel()

    with pytest.raises(asyncio.CancelledError):
        await running
    assert ended.is_set()


async def test_a_turn_without_an_end_fails_unless_it_said_that_it_is_well():
    forever = asyncio.Event()
    looper = Looper("hangs", lambda: _wait(forever), interval_s=0, deadline_s=0.05)

    async def turn() -> None:
        long.well()
        await forever.wait()

    long = Looper("long", turn, interval_s=0, deadline_s=0.05)
    running = [asyncio.create_task(one.run()) for one in (looper, long)]

    await eventually(lambda: looper.failures > 1)
    assert long.failures == 0
    for one in running:
        one.cancel()


async def _wait(event: asyncio.Event) -> None:
    await event.wait()


def test_each_cause_is_logged_once_and_few_causes_a_minute(caplog):
    faults = Faults("one")
    for _ in range(100):
        for text in ("a", "b"):
            faults.failed(OSError(text))
    assert len(caplog.records) == 2

    for number in range(1000):
        faults.failed(OSError(f"port {number}"))
        faults.well()

    assert len([one for one in caplog.records if one.message == "loop-failed"]) <= 8
    assert faults.count == 1200


def test_the_pause_after_a_failure_doubles_up_to_a_bound():
    faults = Faults("one", longest_wait_s=0.4)
    assert faults.wait_s() is None
    waits = []
    for _ in range(8):
        faults.failed(OSError())
        waits.append(faults.wait_s() or 0)

    assert 0.02 <= waits[0] <= 0.05
    assert 0.2 <= waits[-1] <= 0.4


async def test_what_callbacks_raise_is_seen_and_fades():
    loops = Loops()
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    loops.guard(loop)
    try:
        loop.call_soon(lambda: 1 / 0)
        await eventually(lambda: loops.failing)
        assert loops.failing[0].error == "ZeroDivisionError: division by zero"
        await eventually(lambda: not loops.failing, timeout_s=LONGEST_WAIT_S + 2)
    finally:
        loop.set_exception_handler(before)


@pytest.mark.parametrize("error", [*ERRORS, SystemExit(3)], ids=lambda error: type(error).__name__)
async def test_a_loop_of_a_thread_survives_too(error: BaseException):
    work = Work()
    looper = ThreadLooper("thread", work.now, interval_s=0.01, longest_wait_s=0.05)
    looper.start()
    work.error = error
    await eventually(lambda: looper.failing)
    work.error = None

    await eventually(lambda: looper.failing is None)
    assert looper.alive
    looper.stop()
    assert not looper.alive
