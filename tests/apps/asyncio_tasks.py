"""Coroutines that do what Celery's users do, for an app of ours and for a stock one alike."""
# mypy: disable-error-code="untyped-decorator"

import asyncio
import atexit
import ctypes
import json
import os
import threading
import time
from contextvars import ContextVar
from functools import wraps
from pathlib import Path
from typing import Any

from celery import Celery, Task, chain, chord, current_task, group, signals
from celery.app import pop_current_task, push_current_task
from celery.exceptions import Ignore, Reject, Retry

SIGNALS = ("prerun", "postrun", "success", "failure", "retry", "revoked")
_functions = {"now": 0, "most": 0, "done": 0}
_lock = threading.Lock()
_begun: ContextVar[str] = ContextVar("begun", default="")
"""The mark of the execution that began in a context."""

BY_HAND = {"exc_type": "ValueError", "exc_message": ["by hand"], "exc_module": "builtins"}
"""An error as Celery stores it."""


def note(mark: str) -> None:
    """Note a run."""
    with Path(os.environ["RUNS_FILE"]).open("a", encoding="utf-8") as runs:
        runs.write(f"{mark}\n")


def has_noted(mark: str) -> bool:
    """Return whether a run noted that."""
    return f"{mark}\n" in Path(os.environ["RUNS_FILE"]).read_text(encoding="utf-8")


def hear_signals() -> None:
    """Note each signal with the mark of its task, and whether it is where the task began."""

    def hear(name: str) -> None:
        def noted(sender: Any = None, **about: Any) -> None:
            request = about.get("request") or getattr(sender, "request", None)
            args = about.get("args") or getattr(request, "args", None)
            if args and str(args[0]).startswith("heard"):
                at = getattr(sender, "name", sender).rpartition("co_")[2]
                if name == "prerun":
                    _begun.set(args[0])
                elif name != "revoked" and _begun.get() != args[0]:
                    at += " in another context"
                note(f"{args[0]} {name} of {at}")

        getattr(signals, f"task_{name}").connect(noted, weak=False)

    for name in SIGNALS:
        hear(name)


async def close_loop() -> None:
    """Close the event loop under all that runs on it."""
    loop = asyncio.get_running_loop()
    loop.stop()
    loop.call_soon(loop.close)
    loop._run_once = loop.close  # type: ignore[attr-defined]  # whoever means it
    await asyncio.sleep(0.05)


class Hooked(Task):  # type: ignore[misc]  # Celery has no types
    """Notes its hooks."""

    abstract = True

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        """Note it."""
        note(f"{args[0]} on_success {self.request.id == task_id}")

    def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Note it."""
        note(f"{args[0]} on_failure {exc!r}")

    def on_retry(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Note it."""
        note(f"{args[0]} on_retry")

    def after_return(self, status: str, *about: Any) -> None:
        """Note it."""
        note(f"{about[2][0]} after_return {status}")


class Before(Hooked):
    """Has a hook before its body, too: it runs beside, on a thread."""

    abstract = True

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        """Note it."""
        note(f"{args[0]} before_start")
        super().before_start(task_id, args, kwargs)


def add_tasks(app: Celery, retry_s: float = 0) -> None:  # a list of tasks
    """Give an app the tasks.

    Args:
        app: that gets them.
        retry_s: after which they are tried again.
    """

    def task(**options: Any) -> Any:
        def register(function: Any) -> Any:
            return app.task(name=f"demo.co_{function.__name__}", **options)(function)

        return register

    def bridged(function: Any) -> Any:
        """Run a coroutine function as a function."""

        @wraps(function)
        def run(*args: Any) -> Any:
            return asyncio.run(function(*args))

        return run

    def handed_on(function: Any) -> Any:
        """Return its coroutine."""

        @wraps(function)
        def run(*args: Any) -> Any:
            return function(*args)

        return run

    def double(how: Any) -> None:
        async def doubled(self: Task, n: int) -> list[Any]:
            await asyncio.sleep(0)
            return [2 * n, self.request.id]

        doubled.__name__ = how.__name__
        task(bind=True)(how(doubled))

    double(bridged)
    double(handed_on)

    @task(bind=True)
    async def who(self: Task, n: int) -> bool:
        own = self.request.id
        for turn in range(5):
            await asyncio.sleep(0.001 * (n * (turn + 1) % 7))
            seen = [self.request.id, current_task.request.id, self.request.args[0]]
            seen += await asyncio.to_thread(
                lambda: [self.request.id, current_task.request.id, current_task.request.args[0]]
            )
            assert seen == [own, own, n] * 2, seen
        await asyncio.gather(*(sub(self, own) for _ in range(2)))
        beside = asyncio.create_task(another(self))
        await asyncio.sleep(0)
        assert (self.request.id, current_task.request.id) == (own, own)
        assert await beside == ["another"] * 2
        assert (self.request.id, current_task.request.id) == (own, own)
        return True

    async def another(self: Task) -> list[Any]:
        push_current_task(self)
        self.push_request(id="another")
        try:
            await asyncio.sleep(0)
            return [self.request.id, current_task.request.id]
        finally:
            self.pop_request()
            pop_current_task()

    async def sub(self: Task, own: str) -> None:
        await asyncio.sleep(0)
        assert (self.request.id, current_task.request.id) == (own, own)

    @task(bind=True, max_retries=2)
    async def retries(self: Task, mark: str, how: str) -> Any:  # a table
        await asyncio.sleep(0)
        note(f"{mark} {self.request.retries}")
        match how:
            case "once":
                return 1 if self.request.retries else self.retry(countdown=retry_s)
            case "a failure of its own":
                if not self.request.retries:
                    self.update_state(state="FAILURE", meta=BY_HAND)
                    self.retry(countdown=retry_s)
                return 1
            case "not thrown":
                if self.request.retries:
                    return "second"
                return type(self.retry(countdown=retry_s, throw=False)).__name__
            case "exceeding":
                raise self.retry(countdown=retry_s)
            case "exceeding with exc":
                raise self.retry(countdown=retry_s, exc=KeyError("the cause"))
            case "in a thread":
                if self.request.retries:
                    return 1
                await asyncio.to_thread(self.retry, countdown=retry_s)
            case "other arguments":
                if self.request.retries:
                    return how
                raise self.retry((mark, how), {}, countdown=retry_s)
            case "caught and raised":
                if self.request.retries:
                    return 1
                try:
                    self.retry(countdown=retry_s)
                except Retry:
                    note(f"{mark} cleans up")
                    raise
        return None

    @task(
        autoretry_for=(KeyError,), retry_backoff=False, max_retries=1, default_retry_delay=retry_s
    )
    async def auto(mark: str) -> None:
        await asyncio.sleep(0)
        note(mark)
        raise KeyError(mark)

    @task()
    async def add(*values: Any) -> Any:
        await asyncio.sleep(0)
        return sum(values[0] if isinstance(values[0], list) else values)

    async def added(one: int, other: int) -> int:
        await asyncio.sleep(0)
        return one + other

    task()(handed_on(added))

    @task()
    def add_up(*values: Any) -> Any:
        return sum(values[0] if isinstance(values[0], list) else values)

    @task(bind=True)
    async def starts(self: Task) -> list[str]:
        one = add.delay(1, 2)
        two = await asyncio.to_thread(add.apply_async, (3, 4))
        three = chain(add.s(1, 2), add.s(3)).delay()
        four = chord([add.s(1, 1), add.s(2, 2)])(add_up.s())
        return [one.id, two.id, three.parent.id, three.id, four.id]

    @task(bind=True)
    async def replaced(self: Task) -> Any:
        raise self.replace(group(add.s(1, 2), add.s(3, 4)) | add_up.s())

    @task()
    async def doze(mark: str, seconds: float, result: Any = None) -> Any:
        note(f"{mark} begins")
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            note(f"{mark} cancelled")
            raise
        note(f"{mark} ends")
        return result

    @task(acks_late=True)
    async def short_at_last(mark: str) -> str:
        again = has_noted(f"{mark} begins")
        note(f"{mark} begins")
        await asyncio.sleep(0 if again else 60)
        return mark

    @task(soft_time_limit=0.2, time_limit=20)
    async def limited(mark: str) -> str:
        try:
            await asyncio.sleep(60)
        finally:
            note(f"{mark} cleans up")
        return mark

    @task()
    async def swallows(mark: str, times: int) -> None:
        for turn in range(times):
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                note(f"{mark} swallowed {turn}")
        await asyncio.sleep(60)

    @task(rate_limit="20/s")
    async def rated(mark: str) -> float:
        note(mark)
        return time.time()

    @task(acks_late=False)
    async def early(mark: str, seconds: float) -> None:
        note(f"{mark} begins")
        await asyncio.sleep(seconds)
        note(f"{mark} ends")

    @task(acks_late=True, acks_on_failure_or_timeout=False)
    async def unacked(mark: str) -> None:
        note(mark)
        await asyncio.sleep(0)
        raise KeyError(mark)

    @task(ignore_result=True)
    async def ignored(mark: str) -> int:
        note(mark)
        return 1

    @task(base=Hooked, max_retries=1, bind=True)
    async def hooked(self: Task, mark: str, how: str) -> int:
        await asyncio.sleep(0)
        note(f"{mark} body")
        if how == "fails":
            raise KeyError(how)
        if how == "retries" and not self.request.retries:
            raise self.retry(countdown=retry_s)
        return 1

    @task(base=Before)
    async def hooked_before(mark: str) -> int:
        await asyncio.sleep(0)
        note(f"{mark} body")
        return 1

    @task(bind=True, acks_late=True)
    async def leaves(self: Task, mark: str, how: str) -> Any:
        await asyncio.sleep(0)
        note(mark)
        match how:
            case "ignore":
                self.update_state(state="DUG", meta={"depth": 3})
                raise Ignore
            case "reject":
                raise Reject("no", requeue=False)
            case "reject once":
                if not self.request.delivery_info["redelivered"]:
                    raise Reject("again", requeue=True)
                return how
            case "exit":
                raise SystemExit(3)
            case "interrupt":
                raise KeyboardInterrupt
            case "cancels itself":
                asyncio.current_task().cancel()  # type: ignore[union-attr]
                await asyncio.sleep(60)
            case "stops the loop":
                asyncio.get_running_loop().stop()
                await asyncio.sleep(0.05)
                return how
            case "closes the loop" if not self.request.retries:
                await close_loop()
            case "closes the loop when told" if not self.request.retries:
                note(f"{mark} begins")
                while not has_noted(f"{mark} now"):  # noqa: ASYNC110  # told by another process
                    await asyncio.sleep(0.05)
                await close_loop()
            case "closes the loop" | "closes the loop when told":
                return how
            case "generator":
                raise GeneratorExit
            case "os._exit":
                os._exit(3)
            case "segfault":
                ctypes.string_at(0)
        return None

    @task()
    async def holds(seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251  # no coroutine goes on meanwhile

    @task()
    async def leaves_thread(mark: str) -> None:
        asyncio.get_running_loop().run_in_executor(None, time.sleep, 600)
        atexit.register(note, f"{mark} at exit")

    @task()
    async def links(mark: str, fails: bool = False) -> int:
        await asyncio.sleep(0)
        if fails:
            raise ValueError(mark)
        return 5

    @task()
    def told(value: Any, mark: str) -> None:
        note(f"{mark} {json.dumps(value)}")

    @task()
    def failed(request: Any, exc: Any, traceback: Any, mark: str = "failed") -> None:
        note(f"{mark} {exc!r}")

    @task()
    def function(seconds: float) -> int:
        with _lock:
            _functions["now"] += 1
            _functions["most"] = max(_functions["most"], _functions["now"])
        time.sleep(seconds)
        with _lock:
            _functions["now"] -= 1
        return _functions["most"]
