"""Background work that never ends: what all loops of all processes have in common.

    turn ──done──► pause(interval) ──────────────► turn
      │ raised, or not done in time
      ▼
    failing (since, error) ──► pause(back-off) ──► turn ──done, or `well`──► as before

A loop survives whatever a turn raises. It logs each cause once, shows that it is failing for as
long as it is, and turns again within `LONGEST_WAIT_S`: it recovers soon after its cause has gone.
"""

import asyncio
import itertools
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from penstock.backoff import LONGEST_WAIT_S, backoff_s

LOG_AGAIN_S: Final = 600.0
"""The same cause is logged again after so long."""
_MOST_LINES: Final = 8
"""Causes of one loop that are logged within `_LINES_WITHIN_S`; further ones are counted."""
_LINES_WITHIN_S: Final = 60.0
_ERROR_CHARS: Final = 500

Turn = Callable[[], Awaitable[None]]
Tell = Callable[[logging.Logger, int, str, dict[str, Any], BaseException | None], None]
"""Writes a line: logger, level, event, fields, and the exception whose traceback is of use."""


def event_line(
    logger: logging.Logger,
    level: int,
    event: str,
    fields: dict[str, Any],
    error: BaseException | None,
) -> None:
    """Log a constant event with fields, for a formatter that writes them."""
    logger.log(level, event, extra=fields, exc_info=error)


def plain_line(
    logger: logging.Logger,
    level: int,
    event: str,
    fields: dict[str, Any],
    error: BaseException | None,
) -> None:
    """Log the same for a formatter that writes messages only, as Celery's does."""
    words = " ".join(f"{name}={value!r}" for name, value in fields.items())
    logger.log(level, "%s: %s", event, words, exc_info=error)


@dataclass(frozen=True, slots=True)
class Failing:
    """What is wrong with a loop at the moment."""

    loop: str
    """Its name."""
    since: float
    """When it failed first, unix seconds."""
    error: str
    """The latest error: its type and text, at most 500 characters. May hold a URL's password."""


class Looper:
    """One loop: its turns, its pauses, and what is wrong with it.

    Args:
        name: One word, unique in the process.
        turn: One turn. One that goes on for as long as a connection calls `well` once it is made.
        interval_s: Pause after a turn that was done.
        deadline_s: Longest time for one turn, or for a long one to be `well`; None: no bound.
        longest_wait_s: Between two turns that fail.
        expected: What a turn raises while a server is away: logged as a warning, without traceback.
        at_end: Awaited when the loop is cancelled.
        tell: Writes the lines.
    """

    def __init__(
        self,
        name: str,
        turn: Turn,
        *,
        interval_s: float,
        deadline_s: float | None = None,
        longest_wait_s: float = LONGEST_WAIT_S,
        expected: tuple[type[BaseException], ...] = (),
        at_end: Callable[[], Awaitable[None]] | None = None,
        tell: Tell = event_line,
    ) -> None:
        self.name = name
        self.interval_s = interval_s
        self._turn = turn
        self._at_end = at_end
        self._deadline_s = deadline_s
        self._faults = Faults(name, longest_wait_s, expected, tell)
        self._within: asyncio.Timeout | None = None
        self._began_at = 0.0
        self.turns = 0
        """How many have been done, well or not."""

    def __repr__(self) -> str:
        """Name it, and what is wrong."""
        return f"<Looper {self.name}, {self._faults.failing or 'well'}>"

    @property
    def failing(self) -> Failing | None:
        """What is wrong at the moment; None: nothing."""
        within = self._within
        if within is not None and within.when() is not None and self._deadline_s is not None:
            late_s = time.monotonic() - self._began_at - self._deadline_s
            if late_s > LONGEST_WAIT_S:  # a client library swallowed the cancellation
                since = time.time() - late_s
                return Failing(self.name, since, f"no end of a turn after {self._deadline_s:g} s")
        return self._faults.failing

    @property
    def failures(self) -> int:
        """Turns that failed so far."""
        return self._faults.count

    def well(self) -> None:
        """Say in the middle of a long turn that it does its work; it may take any time from now."""
        self._faults.well()
        if self._within is not None:
            self._within.reschedule(None)

    async def run(self) -> None:
        """Turn again and again; runs until cancelled."""
        try:
            while True:
                await self.once()
                wait_s = self._faults.wait_s()
                await asyncio.sleep(self.interval_s if wait_s is None else wait_s)
        finally:
            if self._at_end is not None:
                await self._at_end()

    async def once(self) -> None:
        """Make one turn, whatever it raises."""
        self._began_at = time.monotonic()
        try:
            async with asyncio.timeout(self._deadline_s) as self._within:
                await self._turn()
        except (Exception, asyncio.CancelledError) as error:
            # Client libraries turn a cancellation into an error, and raise one when nobody meant
            # us; only the task itself knows.
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise asyncio.CancelledError from error
            self._faults.failed(error)
        else:
            self._faults.well()
        finally:
            self._within = None
            self.turns += 1


class ThreadLooper:
    """The same for a thread.

    Args:
        name: Of the thread.
        turn: One turn.
        interval_s: Pause after a turn that was done.
        longest_wait_s: Between two turns that fail.
        expected: What a turn raises while a server is away.
        at_end: Called when the loop has ended; may raise.
    """

    def __init__(
        self,
        name: str,
        turn: Callable[[], None],
        *,
        interval_s: float,
        longest_wait_s: float = LONGEST_WAIT_S,
        expected: tuple[type[BaseException], ...] = (),
        at_end: Callable[[], None] | None = None,
    ) -> None:
        self.name = name
        self._turn = turn
        self._interval_s = interval_s
        self._at_end = at_end
        self._faults = Faults(name, longest_wait_s, expected, plain_line)
        self._leaving = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def failing(self) -> Failing | None:
        """What is wrong at the moment; None: nothing."""
        return self._faults.failing

    @property
    def alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Turn again and again, in a daemon thread, until `stop`."""
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """End after the present turn; waits so many seconds for that."""
        self._leaving.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def once(self) -> None:
        """Make one turn, whatever it raises: no exception means anything to a daemon thread."""
        try:
            self._turn()
        except BaseException as error:  # noqa: BLE001  # SystemExit would end the thread silently
            self._faults.failed(error)
        else:
            self._faults.well()

    def _run(self) -> None:
        wait_s: float | None = 0.0
        while not self._leaving.wait(self._interval_s if wait_s is None else wait_s):
            self.once()
            wait_s = self._faults.wait_s()
        if self._at_end is not None:
            try:
                self._at_end()
            except BaseException as error:  # noqa: BLE001  # as above
                self._faults.failed(error)


class Faults:
    """What went wrong with one loop, or with anything else that goes on all the same.

    Args:
        name: Of the loop.
        longest_wait_s: Bound of the back-off.
        expected: Errors without a traceback in the log.
        tell: Writes the lines.
    """

    def __init__(
        self,
        name: str,
        longest_wait_s: float = LONGEST_WAIT_S,
        expected: tuple[type[BaseException], ...] = (),
        tell: Tell = event_line,
    ) -> None:
        self._name = name
        self._longest_wait_s = longest_wait_s
        self._expected = expected
        self._tell = tell
        self._log = logging.getLogger(__name__)
        self._logged: dict[str, float] = {}
        self._lines_since = 0.0
        self._lines = 0
        self._unlogged = 0
        self._streak = 0
        self._told = False
        self.failing: Failing | None = None
        """What is wrong at the moment."""
        self.count = 0
        """Failures so far."""

    def failed(self, error: BaseException) -> None:
        """Note a failure, and log it unless it was logged lately."""
        text = described(error)
        since = self.failing.since if self.failing is not None else time.time()
        self.failing = Failing(self._name, since, text)
        self.count += 1
        self._streak += 1
        if not self._may_log(text, time.monotonic()):
            self._unlogged += 1
            return
        self._told = True
        fields: dict[str, Any] = {"loop": self._name, "reason": text}
        if self._unlogged:
            fields["failures_not_logged"], self._unlogged = self._unlogged, 0
        plain = isinstance(error, self._expected)
        level = logging.WARNING if plain else logging.ERROR
        self._tell(self._log, level, "loop-failed", fields, None if plain else error)

    def well(self) -> None:
        """Note that all is well."""
        failing = self.failing
        if failing is None:
            return
        self.failing = None
        self._streak = 0
        if self._told:
            self._told = False
            after_s = round(time.time() - failing.since, 1)
            fields = {"loop": self._name, "after_s": after_s}
            self._tell(self._log, logging.INFO, "loop-recovered", fields, None)

    def wait_s(self) -> float | None:
        """Seconds to the next turn after a failure; None: there was none."""
        if not self._streak:
            return None
        return backoff_s(self._streak - 1, longest_s=self._longest_wait_s)

    def _may_log(self, text: str, now: float) -> bool:
        """Once per cause and ten minutes, and few causes a minute: some texts never repeat."""
        if now - self._logged.get(text, now - LOG_AGAIN_S) < LOG_AGAIN_S:
            return False
        if now - self._lines_since > _LINES_WITHIN_S:
            self._lines_since, self._lines = now, 0
        self._lines += 1
        if self._lines > _MOST_LINES:
            return False
        self._logged.pop(text, None)
        self._logged[text] = now
        while len(self._logged) > _MOST_LINES:
            del self._logged[next(iter(self._logged))]
        return True


def described(error: BaseException) -> str:
    """The type and text of an error, of one that cannot be written as text, too."""
    try:
        text = str(error)
    except Exception as worse:  # noqa: BLE001  # a __str__ that raises must not end a loop
        text = f"<its text raises {type(worse).__name__}>"
    name = type(error).__name__
    return (f"{name}: {text}" if text else name)[:_ERROR_CHARS]


class Loops:
    """All loops of a process: what `/readyz` and `/metrics` look at."""

    def __init__(self) -> None:
        self._loopers: dict[str, Looper] = {}
        self.raised = Faults("callbacks")
        """What callbacks of the event loop raised; see `guard`."""
        self._raised_at = 0.0

    def __iter__(self) -> Iterator[Looper]:
        """Each loop."""
        return iter(self._loopers.values())

    def __getitem__(self, name: str) -> Looper:
        """The loop of that name."""
        return self._loopers[name]

    @property
    def names(self) -> tuple[str, ...]:
        """Their names, in the order in which they were added."""
        return tuple(self._loopers)

    def add(self, looper: Looper) -> Looper:
        """Have a loop watched.

        Raises:
            ValueError: there is one of that name.
        """
        if looper.name in self._loopers:
            raise ValueError(f"two loops are named {looper.name!r}")
        self._loopers[looper.name] = looper
        return looper

    @property
    def failing(self) -> tuple[Failing, ...]:
        """The loops that fail at the moment."""
        if time.monotonic() - self._raised_at > LONGEST_WAIT_S:
            self.raised.well()
        found = (looper.failing for looper in self)
        return tuple(one for one in itertools.chain(found, [self.raised.failing]) if one)

    @property
    def failures(self) -> dict[str, float]:
        """Failures so far by name."""
        return {
            **{looper.name: float(looper.failures) for looper in self},
            "callbacks": float(self.raised.count),
        }

    def guard(self, loop: asyncio.AbstractEventLoop) -> None:
        """Note what callbacks of the event loop raise, and tasks that nobody waits for.

        The event loop goes on after each of them; without this their lines have no bound.
        """

        def note(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
            error = context.get("exception")
            self._raised_at = time.monotonic()
            self.raised.failed(error if error is not None else RuntimeError(context["message"]))

        loop.set_exception_handler(note)
