"""What this process counts of tasks, and adds up in Redis every few seconds.

Counting is adding to a dict: it costs a task no round trip. What was counted since the last time is
lost with a process that is killed, at most 3 s of it.
"""

import os
import time
from bisect import bisect_left
from collections import Counter
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from penstock.looper import ThreadLooper
from penstock.wire.task_counts import (
    COUNTS_KEY,
    DOCUMENTS,
    ENDED,
    FLUSH_S,
    RETRIED,
    RUN,
    RUN_BOUNDS_S,
    SUM,
    WAIT,
    WAIT_BOUNDS_S,
    Key,
    field_of,
    folded,
    key_of,
)
from penstock.worker import document_troubles

counts: Counter[Key] = Counter()
"""Of this process. Threads of a pool count here, and may lose one in a race."""

_GATEWAY = "penstock@"
"""What the origin of a gateway's messages begins with: their ids tell when they were published."""


def ended(task: str, state: str, runtime_s: float | None) -> None:
    """Count the end of a task.

    Args:
        task: Its registered name; never a name of the client's choice.
        state: In which it ended.
        runtime_s: How long the execution took, seconds; None: it did not begin.
    """
    counts[ENDED, state, task] += 1
    if runtime_s is not None:
        ran(task, runtime_s)


def retried(task: str, runtime_s: float | None) -> None:
    """Count an attempt that was published again; the arguments are those of `ended`."""
    counts[RETRIED, "", task] += 1
    if runtime_s is not None:
        ran(task, runtime_s)


def ran(task: str, runtime_s: float) -> None:
    """Count how long an execution took."""
    counts[RUN, bisect_left(RUN_BOUNDS_S, runtime_s), task] += 1
    counts[RUN, SUM, task] += int(max(runtime_s, 0) * 1e6)


def waited(queue: str | None, request: dict[str, Any], due: float | None = None) -> None:
    """Count how long a task waited to start, where it is known since when.

    Args:
        queue: Where it came from.
        request: Its headers.
        due: When it was to start at the earliest, unix seconds; None: as soon as it was published.
    """
    if due is None:
        if request.get("retries") or not str(request.get("origin") or "").startswith(_GATEWAY):
            return
        due = _issued_at(request.get("id"))
        if due is None:
            return
    waited_s = max(time.time() - due, 0.0)
    counts[WAIT, bisect_left(WAIT_BOUNDS_S, waited_s), queue or ""] += 1
    counts[WAIT, SUM, queue or ""] += int(waited_s * 1e6)


def documents(outcome: str, number: int) -> None:
    """Count documents of a batch.

    Args:
        outcome: `stored`, `duplicate` or `failed`.
        number: How many.
    """
    if number:
        counts[DOCUMENTS, outcome, ""] += number


def _issued_at(task_id: Any) -> float | None:
    """Return when an id of a gateway was issued: RFC 9562, section 5.7 (UUIDv7)."""
    try:
        return int(task_id[:8] + task_id[9:13], 16) / 1e3
    except (TypeError, ValueError):
        return None


class Tally:
    """Adds what this process counts to what stands in Redis.

    Args:
        client: Redis.
    """

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._report = document_troubles.Report(client)
        self._added: Counter[Key] = Counter()
        self._known: set[str] | None = None
        self._folded: dict[Key, Key] = {}
        self._looper = ThreadLooper(
            "tally", self.flush, interval_s=FLUSH_S, expected=(RedisError,), at_end=self.flush
        )

    def __repr__(self) -> str:
        """Show how much was added."""
        return f"<Tally {len(self._added)} counts>"

    def begin(self) -> None:
        """Begin to add, once."""
        if not self._looper.alive:
            self._looper.start()

    def end(self) -> None:
        """Add what is left, and end."""
        self._looper.stop()

    def flush(self) -> None:
        """Add what has been counted since the last time, and report what is wrong.

        Raises:
            RedisError: Redis is away; it is added the next time, or twice where only the answer
                was lost.
        """
        now = Counter(dict(list(counts.items())))
        new = [key for key in now if key not in self._folded]
        if new:
            if self._known is None:
                self._known = self._names()
            self._folded |= folded(new, self._known)
        more = {key: number - self._added[key] for key, number in now.items()}
        with self._client.pipeline(transaction=False) as pipe:
            for key, number in more.items():
                if number:
                    pipe.hincrby(COUNTS_KEY, field_of(self._folded[key]), number)
            self._report.write(pipe)
            if pipe.command_stack:
                pipe.execute()
        self._added = now

    def _names(self) -> set[str]:
        """Return the names that are counted apart already, by any worker."""
        fields = (key_of(_text(one)) for one in self._client.hkeys(COUNTS_KEY))
        return {key[2] for key in fields if key is not None}


_tallies: dict[int, Tally] = {}


def begin_in_child(client: Redis) -> None:
    """Count in a process of a prefork pool, which has its parent's counts from the fork."""
    counts.clear()
    document_troubles.forget()
    tally = _tallies[os.getpid()] = Tally(client)
    tally.begin()


def end_in_child() -> None:
    """Add what is left, where the process ends in order."""
    tally = _tallies.pop(os.getpid(), None)
    if tally is not None:
        tally.end()


def _text(value: bytes | str) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
