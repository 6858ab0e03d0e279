"""States written as our workers write them: by the workers' own scripts."""

import json
import time
from datetime import UTC, datetime
from typing import Any

import redis.asyncio
from redis.asyncio import Redis

from penstock.wire.announcements import WORKERS_KEY, WorkerRecord
from penstock.wire.keys import TaskKeys
from penstock.wire.records import FINAL, LONG_RECORD_BYTES
from penstock.wire.scripts import script


def announce_silent(name: str, url: str) -> None:
    """Leave the record of a worker that was killed a minute ago."""
    record = WorkerRecord(
        worker=name, start="1", queues=("default",), tasks=(), seen=time.time() - 60
    )
    with redis.Redis.from_url(url) as client:
        client.hset(WORKERS_KEY, record.field, record.encode())


class WorkerStates:
    """A worker as Redis sees it.

    Args:
        client: Where to.
        keep_s: How long results are kept.
    """

    def __init__(self, client: Redis, keep_s: int = 3600) -> None:
        self.client = client
        self._keep_s = keep_s
        self._started: dict[str, str] = {}
        self._start = client.register_script(script("task_start").text)
        self._record = client.register_script(script("task_record").text)
        self._log = client.register_script(script("task_log").text)

    @classmethod
    def at(cls, url: str) -> "WorkerStates":
        return cls(redis.asyncio.from_url(url))

    async def start(self, task_id: str, *, redelivered: bool = False) -> str:
        keys = TaskKeys.of(task_id)
        answer = await self._start(
            keys=[keys.record, keys.events, keys.ended, keys.revoked, keys.copy],
            args=[self._body(task_id, "STARTED", None), self._keep_s, "d" * redelivered],
        )
        return str(answer, "ascii")

    async def store(self, task_id: str, state: str, result: Any = None, **more: Any) -> int:
        keys = TaskKeys.of(task_id)
        body = self._body(task_id, state, result, **more)
        event = ""
        if len(body) > LONG_RECORD_BYTES:
            event = "{" + self._body(task_id, state, None, truncated=True)
        final = state if state in FINAL else ""
        written: int = await self._record(
            keys=[keys.record, keys.events, keys.ended, keys.revoked],
            args=[body, event, final, self._keep_s, int('"started_at"' not in body[:500]), 0],
        )
        return written

    async def succeed(self, task_id: str, result: Any = 42) -> None:
        await self.store(task_id, "SUCCESS", result)

    async def fail(self, task_id: str, message: str = "no") -> None:
        error = {"exc_type": "ValueError", "exc_message": [message], "exc_module": "builtins"}
        await self.store(task_id, "FAILURE", error, traceback="Traceback: secret line")

    async def progress(self, task_id: str, current: int, total: int = 9) -> None:
        await self.store(
            task_id, "PROGRESS", {"current": current, "total": total, "message": f"step {current}"}
        )

    async def log(self, task_id: str, line: str, stream: str = "stdout") -> None:
        keys = TaskKeys.of(task_id)
        log = {"stream": stream, "line": line}
        notice = {"status": "STARTED", "task_id": task_id, "result": None, "log": log}
        await self._log(
            keys=[keys.record, keys.events, keys.ended],
            args=[json.dumps({"log": log}), json.dumps(notice)[1:], self._keep_s],
        )

    async def stock(self, task_id: str, state: str, result: Any = None) -> None:
        """Write as Celery's own backend does: a record without cursor, published as it is."""
        done = datetime.now(UTC).isoformat() if state in {"SUCCESS", "FAILURE"} else None
        record = {
            "status": state, "result": result, "traceback": None, "children": [],
            "date_done": done, "task_id": task_id,
        }  # fmt: skip
        async with self.client.pipeline() as pipe:
            pipe.set(TaskKeys.of(task_id).record, json.dumps(record), ex=self._keep_s)
            pipe.publish(TaskKeys.of(task_id).record, json.dumps(record))
            await pipe.execute()

    def _body(self, task_id: str, state: str, result: Any, **more: Any) -> str:
        now = datetime.now(UTC).isoformat()
        if state == "STARTED":
            self._started[task_id] = now
        started = self._started.get(task_id)
        record = {
            "status": state, "task_id": task_id, "name": "demo.test", "worker": "celery@w1",
            "retries": 0,
        } | ({"started_at": started} if started else {}) | {
            "date_done": now if state in FINAL else None,
            "children": [], "traceback": more.pop("traceback", None), **more, "result": result,
        }  # fmt: skip
        return json.dumps(record, separators=(",", ":"))[1:]
