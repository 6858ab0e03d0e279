"""A worker application with tasks that go wrong in the ways that tests need.

Started as `celery -A tests.apps.tasks_core_app worker`. Tasks write their runs to the
file RUNS_FILE.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import time
from pathlib import Path
from typing import Any

from celery import current_app, current_task

from penstock.worker.errors import PermanentError, RetryableError
from penstock.worker.running.context import TaskContext
from penstock.worker.running.spec import TaskSpec
from tasks.app import build_app
from tasks.config import WorkerConfig
from tasks.registry import TASKS
from topology.layout import load_from_env

_config = WorkerConfig.from_env(os.environ)


def note(mark: str) -> None:
    """Note a run, whether or not Redis is there just now."""
    with Path(os.environ["RUNS_FILE"]).open("a", encoding="utf-8") as runs:
        runs.write(f"{mark}\n")


def run(mark: str) -> str:
    """Note the run."""
    note(mark)
    return mark


def nap(mark: str, seconds: float) -> str:
    """Hold the process, or the thread, for a while; a function and no coroutine."""
    note(f"{mark} begins")
    time.sleep(seconds)
    note(f"{mark} ends")
    return mark


async def doze(mark: str, seconds: float) -> str:
    """Wait as a coroutine, and tell of the cancellation."""
    note(f"{mark} begins")
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        note(f"{mark} cancelled")
        raise
    note(f"{mark} ends")
    return mark


async def stubborn(mark: str, seconds: float) -> str:
    """Clean up slowly when it is cancelled."""
    try:
        await asyncio.sleep(seconds)
    finally:
        note(f"{mark} cleans up")
        await asyncio.sleep(30)
    return mark


async def deaf(mark: str) -> None:
    """Go on, whatever cancels it."""
    note(f"{mark} begins")
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)


async def bulky(mark: str, seconds: float, size: int) -> None:
    """Ask to be tried again with a reason so long that it fills the pipe to the parent."""
    note(f"{mark} begins")
    await asyncio.sleep(seconds)
    raise RetryableError("x" * size, retry_in_s=60)


def end_process(mark: str, how: str) -> None:
    """End the process that runs the task, in one of the ways in which that happens."""
    note(mark)
    match how:
        case "exit":
            os._exit(3)
        case "exit in order":
            os._exit(0)
        case "segfault":
            ctypes.string_at(0)
        case "abort":
            os.abort()
        case "let go":  # of what it inherited, as daemons do; it ends later
            os.closerange(3, 256)
            time.sleep(12)
        case _:
            os.kill(os.getpid(), signal.SIGKILL)


async def end_process_later(mark: str) -> None:
    """Do so from the event loop."""
    await asyncio.sleep(0.05)
    end_process(mark, "exit")


def end_process_when(mark: str, file: str) -> None:
    """End the process once a file of this run is there."""
    note(mark)
    number = Path(os.environ["RUNS_FILE"]).read_text(encoding="utf-8").count(mark)
    while not Path(f"{file}-{number}").exists():
        time.sleep(0.02)
    os._exit(3)


def meet(mark: str, others: int) -> int:
    """Wait until that many run at once."""
    note(mark)
    end = time.monotonic() + 20
    while Path(os.environ["RUNS_FILE"]).read_text(encoding="utf-8").count(mark) < others:
        if time.monotonic() > end:
            raise TimeoutError(mark)
        time.sleep(0.02)
    return others


def permanent(message: str) -> None:
    """Fail for good."""
    raise PermanentError(message)


def hopeless(message: str) -> None:
    """Ask to be tried again, always."""
    raise RetryableError(message, retry_in_s=1)


def late_failure(context: TaskContext[Any], mark: str, seconds: float) -> int:
    """Fail once, after a while."""
    if context.retries:
        note(f"{mark} again")
        return context.retries
    note(f"{mark} begins")
    time.sleep(seconds)
    note(f"{mark} fails")
    raise RetryableError(mark, retry_in_s=1)


def produce(size: int) -> str:
    """Return a long result."""
    return "x" * size


def not_a_number() -> float:
    """Return what JSON cannot say."""
    return float("nan")


def custom(context: TaskContext[Any]) -> int:
    """Use Celery's own way to tell of progress, and ours, from a function."""
    current_task.update_state(state="DIGGING", meta={"depth": 3})
    context.progress_sync(1, 4, "a quarter")
    context.progress(2, 4, "half")
    context.log_sync("a line", "stderr")
    context.log("another")
    return context.retries


def start(count: int, countdown: float | None = None) -> None:
    """Start others as Celery's users do."""
    for mark in range(count):
        current_app.tasks["demo.run"].apply_async((str(mark),), countdown=countdown)


async def start_async(count: int, countdown: float | None = None) -> None:
    """Do so in a coroutine."""
    await asyncio.to_thread(start, 1, countdown)
    start(count - 1, countdown)


def talk(context: TaskContext[Any], lines: int, length: int) -> None:
    """Say a lot."""
    for _ in range(lines):
        context.log_sync("x" * length, "stdout")


def total(values: list[int]) -> int:
    """Add up: the body of a chord."""
    return sum(values)


EXTRA = (
    TaskSpec("demo.run", run),
    TaskSpec("demo.nap", nap),
    TaskSpec("demo.doze", doze),
    TaskSpec("demo.stubborn", stubborn),
    TaskSpec("demo.limited", doze, {"soft_time_limit": 0.3, "time_limit": 5}),
    TaskSpec("demo.deaf", deaf),
    TaskSpec("demo.bulky", bulky),
    TaskSpec("demo.end_process", end_process),
    TaskSpec("demo.end_process_later", end_process_later),
    TaskSpec("demo.end_process_when", end_process_when),
    TaskSpec("demo.meet", meet),
    TaskSpec("demo.permanent", permanent),
    TaskSpec("demo.hopeless", hopeless, {"max_retries": 1}),
    TaskSpec("demo.late_failure", late_failure),
    TaskSpec("demo.produce", produce),
    TaskSpec("demo.not_a_number", not_a_number),
    TaskSpec("demo.custom", custom),
    TaskSpec("demo.test_total", total),
    TaskSpec("elsewhere.none", run),  # no route names it
    TaskSpec("demo.start", start),
    TaskSpec("demo.start_async", start_async),
    TaskSpec("demo.talk", talk),
)

app = build_app(_config, load_from_env(os.environ), (*TASKS, *EXTRA))
