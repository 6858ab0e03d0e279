"""Coroutines on the loop of the process, seen from the thread that waits for them."""

import asyncio
import logging
import signal
import threading
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import pytest
from billiard.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded

from penstock.worker.errors import LoopLostError
from penstock.worker.running.runtime import Limits, Runtime, StoppedError
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def runtime() -> Runtime:
    return Runtime("redis://127.0.0.1:1/0")


class Sleeper:
    """A coroutine that tells how it ended."""

    def __init__(self, cleanup_s: float = 0.0, *, swallow: int = 0) -> None:
        self.started = threading.Event()
        self.told: list[str] = []
        self._cleanup_s = cleanup_s
        self._swallow = swallow

    async def __call__(self) -> str:
        self.started.set()
        while True:
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                self.told.append("cancelled")
                if self._swallow:
                    self._swallow -= 1
                    continue
                await asyncio.sleep(self._cleanup_s)
                self.told.append("cleaned up")
                raise


def in_thread(call: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """Call in a thread; the list gets the result or the error."""
    out: list[Any] = []

    def run() -> None:
        try:
            out.append(call())
        except BaseException as error:  # noqa: BLE001  # whatever it is, the test looks at it
            out.append(error)

    thread = threading.Thread(target=run, daemon=True)  # a failure must not hang the whole run
    thread.start()
    return thread, out


def test_a_result_and_an_error_come_through(runtime: Runtime):
    async def double(x: int) -> int:
        return 2 * x

    async def divide() -> float:
        return 1 / 0

    assert runtime.run("a", lambda: double(2), Limits()) == 4
    with pytest.raises(ZeroDivisionError):
        runtime.run("b", divide, Limits())


def test_a_soft_limit_cancels_and_waits_for_the_cleanup(runtime: Runtime):
    sleeper = Sleeper(cleanup_s=0.05)

    with pytest.raises(SoftTimeLimitExceeded):
        runtime.run("soft", sleeper, Limits(hard_s=5, soft_s=0.05))
    assert sleeper.told == ["cancelled", "cleaned up"]


def test_a_hard_limit_ends_a_cleanup_that_takes_too_long(runtime: Runtime):
    sleeper = Sleeper(cleanup_s=30)

    with pytest.raises(TimeLimitExceeded):
        runtime.run("hard", sleeper, Limits(hard_s=0.1, soft_s=0.05))
    assert sleeper.told == ["cancelled"]


def test_a_timeout_of_the_task_itself_is_no_limit_of_ours(runtime: Runtime):
    async def impatient() -> None:
        async with asyncio.timeout(0.01):
            await asyncio.sleep(30)

    with pytest.raises(TimeoutError):
        runtime.run("own", impatient, Limits(hard_s=5, soft_s=5))


async def test_stopping_says_why(runtime: Runtime):
    sleeper = Sleeper(cleanup_s=0.05)
    thread, out = in_thread(lambda: runtime.run("stop", sleeper, Limits()))
    await eventually(sleeper.started.is_set)

    assert runtime.stop("stop", "terminated")
    await eventually(lambda: out)
    assert isinstance(out[0], StoppedError)
    assert out[0].reason == "terminated"
    assert sleeper.told == ["cancelled", "cleaned up"]
    assert not runtime.stop("stop", "terminated")
    thread.join()


async def test_all_coroutines_can_be_stopped(runtime: Runtime):
    sleepers = [Sleeper(), Sleeper()]

    def run(n: int) -> Any:
        return runtime.run(f"all-{n}", sleepers[n], Limits())

    threads = [in_thread(partial(run, n)) for n in range(2)]
    await eventually(lambda: all(sleeper.started.is_set() for sleeper in sleepers))
    runtime.stop_all("connection-lost")

    for thread, out in threads:
        thread.join(5)
        assert out[0].reason == "connection-lost"


@pytest.mark.parametrize(
    "error",
    [
        asyncio.CancelledError("given up"), SystemExit(3), KeyboardInterrupt("x"),
        GeneratorExit("x"), BaseException("x"), StopIteration("x"), MemoryError("x"),
        RecursionError("x"), StopAsyncIteration("x"), BaseExceptionGroup("x", [SystemExit(1)]),
    ],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_whatever_leaves_a_coroutine_comes_through_and_the_loop_goes_on(
    runtime: Runtime, error: BaseException
):
    async def give_up() -> None:
        await asyncio.sleep(0)
        raise error

    with pytest.raises(BaseException) as caught:  # noqa: PT011  # the next lines look at it
        runtime.run("leaves", give_up, Limits())
    if isinstance(error, StopIteration):  # PEP 479
        assert isinstance(caught.value, RuntimeError)
    else:
        assert type(caught.value) is type(error)
        assert str(caught.value) == str(error)
    assert runtime.run("after", partial(asyncio.sleep, 0, "here"), Limits()) == "here"


def test_a_coroutine_that_would_wait_for_its_own_loop_is_refused(runtime: Runtime):
    async def wait_for_another() -> Any:
        return runtime.run("inner", partial(asyncio.sleep, 0, "never"), Limits())

    with pytest.raises(RuntimeError, match="await it"):
        runtime.run("outer", wait_for_another, Limits(hard_s=5))
    assert runtime.run("after", partial(asyncio.sleep, 0, "here"), Limits()) == "here"


async def leave_it_to_a_task() -> None:
    """Raise in a task of one's own, which asyncio lets out of the loop."""

    async def leave() -> None:
        raise SystemExit(3)

    child = asyncio.create_task(leave())
    await asyncio.wait([child])


async def cancel_everybody() -> None:
    """Cancel each task of the loop, those of others and those that have not begun, too."""
    for one in asyncio.all_tasks():
        one.cancel()
    await asyncio.sleep(0)


async def stop_the_loop() -> None:
    asyncio.get_running_loop().stop()


async def raise_in_a_callback() -> None:
    def leave() -> None:
        raise KeyboardInterrupt

    asyncio.get_running_loop().call_soon(leave)
    await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "harm", [leave_it_to_a_task, cancel_everybody, stop_the_loop, raise_in_a_callback]
)
async def test_no_coroutine_ends_the_loop_or_leaves_another_waiting(
    runtime: Runtime, harm: Callable[[], Coroutine[Any, Any, None]]
):
    bystander = Sleeper()
    waiting, out = in_thread(lambda: runtime.run("bystander", bystander, Limits(hard_s=20)))
    await eventually(bystander.started.is_set)
    harming, harmed = in_thread(lambda: runtime.run("harm", harm, Limits(hard_s=20)))
    await eventually(lambda: harmed)

    assert runtime.run("after", partial(asyncio.sleep, 0.01, "here"), Limits()) == "here"
    assert not runtime.lost
    runtime.stop("bystander", "terminated")
    await eventually(lambda: out)
    assert isinstance(out[0], StoppedError | asyncio.CancelledError)
    waiting.join()
    harming.join()


async def test_a_loop_that_is_closed_fails_who_waits_and_who_comes():
    runtime = Runtime("redis://127.0.0.1:1/0")
    bystander = Sleeper()
    waiting, out = in_thread(lambda: runtime.run("bystander", bystander, Limits()))
    await eventually(bystander.started.is_set)

    def close_once_it_stands(record: logging.LogRecord) -> bool:
        if "stopped by a coroutine" in record.msg:  # logged by the loop's own thread
            runtime._loop.close()
        return True

    async def stop_it() -> None:
        asyncio.get_running_loop().stop()

    logger = logging.getLogger("penstock.worker.running.runtime")
    logger.addFilter(close_once_it_stands)
    try:
        closing, closed = in_thread(lambda: runtime.run("close", stop_it, Limits()))
        await eventually(lambda: out)
    finally:
        logger.removeFilter(close_once_it_stands)
    assert isinstance(out[0], LoopLostError)
    assert runtime.lost
    with pytest.raises(LoopLostError):
        runtime.run("late", partial(asyncio.sleep, 0), Limits())
    closing.join(5)
    assert closed[0] is None or isinstance(closed[0], LoopLostError)
    waiting.join()


def test_a_signal_that_ends_the_wait_ends_the_coroutine_first(runtime: Runtime):
    sleeper = Sleeper(cleanup_s=0.05, swallow=1)

    def interrupt(*_: object) -> None:
        raise SoftTimeLimitExceeded

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        begun = time.monotonic()
        with pytest.raises(SoftTimeLimitExceeded):
            runtime.run("signal", sleeper, Limits())
    finally:
        signal.signal(signal.SIGALRM, before)
    assert sleeper.told == ["cancelled", "cancelled", "cleaned up"]
    assert 1.0 < time.monotonic() - begun < 5


async def test_what_is_stopped_before_it_begins_never_runs(runtime: Runtime):
    blocking, blocked = threading.Event(), threading.Event()
    ran: list[str] = []

    async def block() -> None:
        blocking.set()
        blocked.wait(5)

    async def late() -> Coroutine[Any, Any, None] | None:
        ran.append("late")
        return None

    first, _ = in_thread(lambda: runtime.run("block", block, Limits()))
    await eventually(blocking.is_set)
    second, out = in_thread(lambda: runtime.run("late", late, Limits()))
    await eventually(lambda: runtime.stop("late", "terminated"))
    blocked.set()
    first.join()
    second.join()
    assert isinstance(out[0], StoppedError)
    assert ran == []
