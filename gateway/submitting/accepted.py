"""Accepted tasks, told to history in batches, behind the answers: most wait in a queue at first.

    publish ──► waiting ──confirmed──► batch (50 ms, 16 KiB) ──► stream of Redis, if history made it
                   └─ refused: no task

Nothing waits for this. While Redis is away so many batches are kept; further tasks are counted,
and history learns of them when a worker starts them.
"""

import asyncio
import contextlib
import time
from typing import Any, Final

import orjson

from gateway.redis.client import RedisClient
from gateway.redis.faults import RedisAwayError
from gateway.submitting.plan import TaskMessage
from gateway.telemetry.log import REQUEST_ID
from penstock.looper import Looper
from penstock.wire.keys import (
    HISTORY_ACCEPTED,
    HISTORY_ARGUMENTS_KEY,
    MAX_ACCEPTED_BYTES,
    MAX_REQUEST_BYTES,
)

BATCH_S: Final = 0.05
"""How long a task waits for others."""
MAX_WAITING: Final = 50_000
"""Tasks that wait for their confirms, or for their batch."""
MAX_BATCHES: Final = 128
"""Batches that wait for Redis: 2 MiB at most."""

_UNCONFIRMED_S: Final = 0.2
"""Between two looks while RabbitMQ confirms nothing."""

_Waiting = tuple["asyncio.Future[None]", TaskMessage, float, str]


class Accepted:
    """Gathers accepted tasks.

    Args:
        redis: From `make_redis`.
    """

    def __init__(self, redis: RedisClient) -> None:
        self._script = redis.script("history_accepted")
        self._waiting: list[_Waiting] = []
        self._batches: list[bytes] = []
        self._some = asyncio.Event()
        self._all_arguments = False
        self.dropped = 0
        """Tasks that history was not told of, since the start."""
        self.looper = Looper(
            "history-accepted",
            self._turn,
            interval_s=0.0,
            expected=(RedisAwayError,),
            at_end=self._finish,
        )

    def __repr__(self) -> str:
        return f"<Accepted {len(self._waiting)} waiting, {len(self._batches)} batches>"

    def add(self, message: TaskMessage, confirm: "asyncio.Future[None]") -> None:
        """Take a task that was published; it counts once it is confirmed."""
        waiting = self._waiting
        if len(waiting) >= MAX_WAITING:
            self.dropped += 1
            return
        waiting.append((confirm, message, time.time(), REQUEST_ID.get()))
        if len(waiting) == 1:
            self._some.set()

    async def _turn(self) -> None:
        if not self._batches:
            await self._some.wait()
            await asyncio.sleep(BATCH_S)
        self._gather()
        if not self._batches and self._waiting:
            await asyncio.sleep(_UNCONFIRMED_S)
        await self._send()

    async def _finish(self) -> None:
        """Tell what is confirmed when the process ends."""
        self._gather()
        with contextlib.suppress(RedisAwayError):
            await self._send()

    async def _send(self) -> None:
        while self._batches:
            batches = self._batches[:16]
            there, arguments = await self._script(
                keys=[HISTORY_ACCEPTED, HISTORY_ARGUMENTS_KEY], args=batches
            )
            del self._batches[: len(batches)]
            self._all_arguments = bool(there) and arguments == b"all"

    def _gather(self) -> None:
        """Make batches of what is confirmed; what is not stays."""
        waiting, self._waiting = self._waiting, []
        found: list[bytes] = []
        size = 0
        for one in waiting:
            confirm, message, at, request_id = one
            if not confirm.done():
                self._waiting.append(one)
                continue
            if confirm.cancelled() or confirm.exception() is not None:
                continue
            entry = orjson.dumps(self._entry(message, at, request_id))
            if size + len(entry) > MAX_ACCEPTED_BYTES and found:
                self._close(found)
                found, size = [], 0
            found.append(entry)
            size += len(entry) + 1
        if found:
            self._close(found)
        if not self._waiting:
            self._some.clear()

    def _close(self, entries: list[bytes]) -> None:
        if len(self._batches) < MAX_BATCHES:
            self._batches.append(b"[%b]" % b",".join(entries))
        else:
            self.dropped += len(entries)

    def _entry(self, message: TaskMessage, at: float, request_id: str) -> dict[str, Any]:
        entry: dict[str, Any] = {"id": message.task_id, "task": message.task, "at": at}
        if message.queues:
            entry["queue"] = message.queues[0]
        if request_id:
            entry["request_id"] = request_id
        if message.retried_from is not None:
            entry["retried_from"] = message.retried_from
        plan = message.plan
        if plan is None:
            return entry
        entry["tenant"] = plan.tenant
        if plan.when.delay_s:
            entry["due_at"] = at + plan.when.delay_s
        kept = self._all_arguments and plan.destination.keep_arguments
        if kept and len(message.body) <= MAX_ACCEPTED_BYTES:
            options = plan.options
            entry["body"] = message.body.decode()
            entry["options"] = {
                name: value
                for name, value in {
                    "exchange": plan.destination.exchange,
                    "routing_key": plan.destination.routing_key,
                    "priority": options.priority,
                    "time_limit": options.time_limit,
                    "soft_time_limit": options.soft_time_limit,
                    "callback_url": options.callback_url,
                    "headers": options.headers,
                }.items()
                if value
            }
        elif kept and len(message.body) > MAX_REQUEST_BYTES:
            entry["too_large"] = True
        return entry
