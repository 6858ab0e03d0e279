"""States read from Redis, many in one round trip.

no record ─┬─ too young to have been forgotten ─► PENDING
           ├─ marked as ended, or old enough ───► 410 result-expired
           └─ not an id of ours ────────────────► 404 unknown-task-id
"""

import time
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing

from gateway.access.task_id import IssuedId
from gateway.redis.client import RedisClient
from gateway.states.records import decode
from gateway.states.state import State, accepted_at, state_of
from gateway.timestamps import rfc3339
from penstock.wire.keys import ENDED_EXTRA_S

READ_BUDGET_BYTES = 8 * 1024 * 1024
"""Records read at once; what is beyond takes another round trip. A longer one is read alone."""
_MISSING, _FORGOTTEN, _LATER, _NO_RECORD = 0, 1, 2, 3
"""Answers of `task_read.lua` in place of a record."""


class States:
    """Reads states.

    Args:
        redis: From `make_redis`.
        result_expires_s: How long the workers keep results.
    """

    def __init__(self, redis: RedisClient, result_expires_s: int) -> None:
        self._keys = redis.keys
        self._read = redis.script("task_read")
        self._kept_s = result_expires_s + ENDED_EXTRA_S

    async def read(self, ids: Mapping[str, IssuedId | None]) -> dict[str, State]:
        """Return the states of tasks, in the order of the ids, in one round trip.

        Args:
            ids: What each id says of itself; None for ids that others issued.

        Raises:
            RedisAwayError: As a problem: `state-unavailable`.
        """
        found: dict[str, State] = {}
        async for part in self.read_parts(ids):
            found.update(part)
        return found

    async def read_first(self, ids: Mapping[str, IssuedId | None]) -> dict[str, State]:
        """Return the states of the first tasks: of all of them, unless that is a lot to hold.

        Raises:
            RedisAwayError: As a problem: `state-unavailable`.
        """
        async with aclosing(self.read_parts(ids)) as parts:
            return await anext(parts, {})

    async def read_parts(
        self, ids: Mapping[str, IssuedId | None]
    ) -> AsyncGenerator[dict[str, State], None]:
        """Give the same in parts: the first has all states, or as many as fit in the budget.

        Raises:
            RedisAwayError: As a problem: `state-unavailable`.
        """
        left = list(ids.items())
        most = len(left)
        while left:
            asked = left[:most]
            tracked = [task_id for task_id, issued in asked if issued is None or issued.tracked]
            records = dict(zip(tracked, await self._records(tracked), strict=True))
            part: dict[str, State] = {}
            for task_id, issued in asked:
                record = records.pop(task_id, _MISSING)
                if record == _LATER:
                    break
                part[task_id] = self.interpret(task_id, record, issued)
            left = left[len(part) :]
            # Redis looks at every record that it is asked for, those that do not fit, too.
            most = 2 * len(part)
            yield part

    async def read_each(
        self, ids: Iterable[str], known: Mapping[str, IssuedId | None]
    ) -> AsyncGenerator[State, None]:
        """Give states one by one and let them go: in memory is one part, however many there are.

        Args:
            ids: Whose, in this order; one that comes twice is read twice.
            known: What each of them says of itself.

        Raises:
            RedisAwayError: As a problem: `state-unavailable`.
        """
        for run in _runs(ids):
            async for part in self.read_parts({task_id: known[task_id] for task_id in run}):
                for task_id in tuple(part):
                    yield part.pop(task_id)

    async def _records(self, ids: Sequence[str]) -> list[bytes | int]:
        if not ids:
            return []
        keys: list[str] = []
        for task_id in ids:
            task = self._keys.task(task_id)
            keys += (task.record, task.ended, task.revoked)
        answer: list[bytes | int] = await self._read(keys=keys, args=[READ_BUDGET_BYTES])
        return answer

    def interpret(self, task_id: str, record: bytes | int, issued: IssuedId | None) -> State:
        """Return what Redis' answer for one task means.

        Args:
            task_id: The id.
            record: The record, or a number of the scripts.
            issued: What the id says of itself; None: others issued it.
        """
        if issued is not None and not issued.tracked:
            issued_at = rfc3339(issued.issued_at)
            return State(id=task_id, state="", tracked=False, accepted_at=issued_at)
        if isinstance(record, bytes):
            decoded = decode(record)
            if decoded is None or not decoded.status:
                return State(id=task_id, state="", code="internal-error")
            return state_of(task_id, decoded, issued)
        if record == _NO_RECORD:
            return State(id=task_id, state="", code="internal-error")
        if record == _FORGOTTEN:
            return State(id=task_id, state="", code="result-expired")
        if issued is None:
            return State(id=task_id, state="", code="unknown-task-id")
        if time.time() > issued.due_by + self._kept_s:
            return State(id=task_id, state="", code="result-expired")
        return State(id=task_id, state="PENDING", cursor="0-0", accepted_at=accepted_at(issued))


def _runs(ids: Iterable[str]) -> Iterator[Iterable[str]]:
    """Yield ids that follow each other, none of them twice in a run."""
    run: dict[str, None] = {}
    for one in ids:
        if one in run:
            yield run
            run = {}
        run[one] = None
    yield run
