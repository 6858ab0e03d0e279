"""Tasks that this process has published, for history, in batches: most wait in a queue at first.

    published, confirmed ──► waiting ──a thread, every 0.2 s──► stream of Redis, if history made it

No publisher waits for it: a task costs it an entry in a queue. Of a task that is lost on the way
(its process was killed, Redis was away) history learns when a worker starts it.
"""

import atexit
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import orjson
from redis import Redis
from redis.exceptions import RedisError

from penstock.looper import ThreadLooper
from penstock.wire.headers import REQUEST_HEADER, RETRIED_HEADER, TENANT_HEADER
from penstock.wire.keys import HISTORY_ACCEPTED, HISTORY_ARGUMENTS_KEY, MAX_ACCEPTED_BYTES
from penstock.wire.scripts import script

BATCH_S = 0.2
"""How long a task waits for others."""
LOOK_S = 5.0
"""Between two looks for a history that was not there."""
MOST_WAITING = 10_000
"""Tasks that wait for Redis; beyond, the oldest are forgotten."""
_END_WITHIN_S = 1.0
_BATCHES = 16
"""Of one call."""
_HEADERS = {
    "tenant": TENANT_HEADER,
    "request_id": REQUEST_HEADER,
    "retried_from": RETRIED_HEADER,
    "root": "root_id",
    "parent": "parent_id",
}
"""Member of an entry → header of the message."""


class Published(NamedTuple):
    """One task."""

    headers: Mapping[str, Any]
    queue: str
    at: float
    """Unix seconds."""

    def entry(self) -> bytes:
        """Return it as the stream has it: JSON, as `gateway.submitting.accepted` writes it."""
        headers = self.headers
        found = {"id": headers["id"], "task": headers["task"], "at": self.at}
        if self.queue:
            found["queue"] = self.queue
        if eta := headers.get("eta"):
            found["due_at"] = datetime.fromisoformat(eta).timestamp()
        for name, header in _HEADERS.items():
            if value := headers.get(header):
                found[name] = value
        return orjson.dumps(found)


class Accepted:
    """Gathers the tasks that one process publishes.

    Args:
        client: makes a client of Redis, in the thread.
    """

    def __init__(self, client: Callable[[], Redis]) -> None:
        self._client = client
        self._pid = 0
        self._begin()

    def __repr__(self) -> str:
        """Say how many wait."""
        return f"<Accepted {len(self._waiting)} waiting>"

    def _begin(self) -> None:
        """Begin anew: threads do not survive a fork, and what the parent has is the parent's."""
        self._waiting: deque[Published] = deque(maxlen=MOST_WAITING)
        self._absent_until = 0.0
        self._redis: Redis | None = None
        self._looper = ThreadLooper(
            "accepted", self._flush, interval_s=BATCH_S, expected=(RedisError,),
            at_end=self._flush,
        )  # fmt: skip

    def add(self, headers: Mapping[str, Any], queue: str) -> None:
        """Take a task that was published.

        Args:
            headers: of its message. A retry, or what replaces a task, is none that is accepted.
            queue: that it was published to; empty: others choose.
        """
        if headers.get("ignore_result") or headers.get("retries"):
            return
        if headers.get("replaced_task_nesting"):
            return
        now = time.time()
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._begin()
            self._looper.start()
            atexit.register(self._end)
        if now >= self._absent_until:
            self._waiting.append(Published(headers, queue, now))

    def _end(self) -> None:
        """Tell what waits, where the process ends in order."""
        if self._pid == os.getpid():
            self._looper.stop(_END_WITHIN_S)

    def _flush(self) -> None:
        """Tell what waits.

        Raises:
            RedisError: Redis is away; what waits goes on waiting.
        """
        taken = [self._waiting.popleft() for _ in range(len(self._waiting))]
        try:
            there = self._send(_batches(taken))
        except RedisError:
            self._waiting.extendleft(reversed(taken))
            raise
        if not there:
            self._absent_until = time.time() + LOOK_S

    def _send(self, batches: Iterator[bytes]) -> bool:
        """Send batches; return whether there is a history."""
        if self._redis is None:
            self._redis = self._client()
        call = self._redis.register_script(script("history_accepted").text)
        while some := [batch for _, batch in zip(range(_BATCHES), batches, strict=False)]:
            there, _ = call(keys=[HISTORY_ACCEPTED, HISTORY_ARGUMENTS_KEY], args=some)
            if not there:
                return False
        return True


def _batches(tasks: list[Published]) -> Iterator[bytes]:
    """Give JSON arrays of tasks, none of them too long."""
    found: list[bytes] = []
    size = 0
    for one in tasks:
        try:
            entry = one.entry()
        except (KeyError, TypeError, ValueError):  # an id that is no text: no task of ours
            continue
        if found and size + len(entry) > MAX_ACCEPTED_BYTES:
            yield b"[%b]" % b",".join(found)
            found, size = [], 0
        found.append(entry)
        size += len(entry) + 1
    if found:
        yield b"[%b]" % b",".join(found)
