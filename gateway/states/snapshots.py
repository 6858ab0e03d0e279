"""States and missed events as they are now, read for many subscriptions in one round trip.

While one round trip is under way, what is asked for meanwhile gathers for the next one: ten
thousand clients that come at once cost some hundred commands.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.redis.client import RedisClient
from gateway.redis.faults import RedisAwayError, RefusedError
from gateway.states.state import MAX_STREAMED_BYTES
from penstock.looper import Faults, described

PAGE = 64
"""Events of one task read at once."""
_BATCH = 128
_AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class SnapshotRequest:
    """One task to read."""

    task_id: str
    cursor: str = ""
    """Read the events after it, too; empty: only the state."""


@dataclass(frozen=True, slots=True)
class TaskSnapshot:
    """One task as Redis has it."""

    record: bytes | int
    """The record or its short form, or a number as the script says."""
    complete: bool
    """Whether all events after the cursor are still there."""
    news: tuple[tuple[str, bytes], ...]
    """The first of these events: cursor and JSON."""


_Request = tuple[Sequence[SnapshotRequest], "asyncio.Future[list[TaskSnapshot]]"]


class Snapshots:
    """Reads snapshots.

    Args:
        redis: From `make_redis`.
    """

    def __init__(self, redis: RedisClient) -> None:
        self._keys = redis.keys
        self._script = redis.script("task_snapshot")
        self._queue: deque[_Request] = deque()
        self._unreadable = Faults("snapshots")
        self._workers: set[asyncio.Task[None]] = set()

    async def read(self, wants: Sequence[SnapshotRequest]) -> list[TaskSnapshot]:
        """Read some tasks, in their order.

        Raises:
            RedisAwayError: As a problem: `state-unavailable`.
        """
        future: asyncio.Future[list[TaskSnapshot]] = asyncio.get_running_loop().create_future()
        self._queue.append((wants, future))
        if len(self._workers) < _AT_ONCE:
            worker = asyncio.create_task(self._work(), name="snapshots")
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)
        return await future

    async def _work(self) -> None:
        while self._queue:
            batch: list[_Request] = []
            size = 0
            while self._queue and (not batch or size + len(self._queue[0][0]) <= _BATCH):
                request = self._queue.popleft()
                if not request[1].done():
                    batch.append(request)
                    size += len(request[0])
            if batch:
                await self._answer(batch)

    async def _answer(self, batch: Sequence[_Request]) -> None:
        """Read what is asked for at once; what Redis refuses is refused to those who asked."""
        wants = [want for asked, _ in batch for want in asked]
        try:
            found = await self._read(wants)
        except RedisAwayError as error:
            if isinstance(error, RefusedError) and len(batch) > 1:
                half = len(batch) // 2
                await self._answer(batch[:half])
                await self._answer(batch[half:])
            else:
                _fail(batch, error.reason)
            return
        except Exception as error:  # noqa: BLE001  # those who wait must not wait for ever
            self._unreadable.failed(error)
            _fail(batch, described(error))
            return
        start = 0
        for asked, future in batch:
            if not future.done():
                future.set_result(found[start : start + len(asked)])
            start += len(asked)

    async def _read(self, wants: Sequence[SnapshotRequest]) -> list[TaskSnapshot]:
        keys: list[str] = []
        for want in wants:
            task = self._keys.task(want.task_id)
            keys += (task.record, task.events, task.ended, task.revoked)
        cursors = (want.cursor for want in wants)
        answer = await self._script(keys=keys, args=[MAX_STREAMED_BYTES, PAGE, *cursors])
        return [
            TaskSnapshot(
                record,
                bool(complete),
                tuple((cursor.decode(), fields[1]) for cursor, fields in news if len(fields) > 1),
            )
            for record, complete, news in answer
        ]


def _fail(batch: Sequence[_Request], reason: str) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(RedisAwayError(reason))
