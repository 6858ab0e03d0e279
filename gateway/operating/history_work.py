"""Slices of operations on many tasks that history wrote down: how fast, and what became of each.

take ──► do, at the rate ──► settle ──► count
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from gateway.access.auth import Caller
from gateway.errors import RETRYABLE_STATUSES, Problem
from gateway.history.client import TIMEOUT_S, HistoryAwayError, HistoryClient, QueryRefusedError
from gateway.history.rows import Assigned, Item, Progress, Taken
from gateway.operating.operations import SLICE_S, Count, LongOperation
from penstock.wire import history_queries as wire

DEFAULT_RATE: Final = 100.0
"""Tasks each second."""
HIGHEST_RATE: Final = 10_000.0
_MOST_AT_ONCE: Final = 500
_AGAIN_S: Final = 0.5
"""Pause when what is next cannot be done at the moment."""
_SETTLE_TIMEOUT_S: Final = 2 * TIMEOUT_S
_SHORT_S: Final = 0.05
"""Tasks that are due within so long are done together."""
Answer = TypeVar("Answer")
UNCONFIRMED: Final = "unconfirmed"


def passing(problem: Problem) -> bool:
    """Return whether a refusal passes by itself, or may not have been one."""
    return problem.status in RETRYABLE_STATUSES or problem.code == UNCONFIRMED


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """The tasks of one slice."""

    operation: LongOperation
    taken: Taken
    caller: Caller
    """On whose behalf: an operator, for the tenant who asked."""

    def for_tenant(self, tenant: str | None) -> Caller:
        """Return the operator, on behalf of a tenant; None: of the one who asked."""
        return operator(self.taken.who, tenant or self.taken.tenant)


def operator(name: str, tenant: str) -> Caller:
    """Return who does what an operator asked for."""
    return Caller(name=name, tenant=tenant, scopes=frozenset({"admin"}))


Do = Callable[[Slice, Sequence[Item]], Awaitable[dict[int, str | None]]]
"""Does what is due of some tasks; returns what became of those that are settled: None, or the code
of a refusal, by number."""


class HistoryWork:
    """Does operations of one kind, slice by slice.

    Args:
        history: Keeps their tasks.
        do: Does what is due.
    """

    def __init__(self, history: HistoryClient, do: Do) -> None:
        self._history = history
        self._do = do
        self._due_at: dict[str, float] = {}
        """When the next task of an operation is due, monotonic seconds."""

    def __repr__(self) -> str:
        """Return how many operations are under way."""
        return f"<HistoryWork {len(self._due_at)} operations>"

    async def work(self, operation: LongOperation, count: Count) -> bool:
        """Do a slice; return whether nothing is left.

        Args:
            operation: Which, and how far.
            count: Told how many more are settled.

        Raises:
            Problem: A server is away; what is settled is done.
        """
        taken = await self._take(operation)
        if taken.items is None:  # history lost it: what is left can never be done
            await count(0, operation.left)
            return True
        counted = _Counted(operation, count)
        await counted.catch_up(taken)
        if not taken.items:
            self._due_at.pop(operation.id, None)
            return True
        caller = operator(taken.who, taken.tenant)
        one = Slice(operation=operation, taken=taken, caller=caller)
        settled = await self._paced(one, taken.items, counted)
        if not settled:
            await asyncio.sleep(_AGAIN_S)
        return False

    async def _paced(self, one: Slice, items: Sequence[Item], counted: "_Counted") -> int:
        """Do tasks at the rate of their operation, for as long as a slice takes."""
        rate = min(one.taken.rate or DEFAULT_RATE, HIGHEST_RATE)
        now = time.monotonic()
        until = now + SLICE_S
        due_at = max(self._due_at.get(one.operation.id, now), now - SLICE_S)
        start = settled = 0
        while start < len(items) and due_at < until:
            await asyncio.sleep(max(0.0, due_at - time.monotonic()))
            late_s = time.monotonic() - due_at
            size = max(1, min(int((late_s + _SHORT_S) * rate), _MOST_AT_ONCE))
            some = items[start : start + size]
            start += len(some)
            due_at += len(some) / rate
            self._due_at[one.operation.id] = due_at
            ends = await self._do(one, some)
            if ends:
                await counted.catch_up(await self._settle(one.operation, ends))
            else:
                await counted.renew()
            settled += len(ends)
            if len(ends) < len(some):
                break  # what is first is done first: it is tried again soon
        return settled

    async def _take(self, operation: LongOperation) -> Taken:
        body = {"id": operation.id, "most": _MOST_AT_ONCE}
        return await asked(self._history, wire.TAKE, body, Taken)

    async def _settle(self, operation: LongOperation, ends: dict[int, str | None]) -> Progress:
        body = {"id": operation.id, "ends": {str(n): code for n, code in ends.items()}}
        return await asked(self._history, wire.SETTLE, body, Progress)


async def assigned(
    history: HistoryClient, operation: LongOperation, ids: dict[int, str]
) -> dict[int, str]:
    """Store new ids; return those that count: an earlier gateway's, where there was one.

    Raises:
        HistoryAwayError: It is not known whether they are stored.
    """
    if not ids:
        return {}
    body = {"id": operation.id, "ids": {str(n): one for n, one in ids.items()}}
    answer = await asked(history, wire.ASSIGN, body, Assigned)
    return {int(n): one for n, one in answer.ids.items()}


async def asked(
    history: HistoryClient, path: str, body: dict[str, Any], kind: type[Answer]
) -> Answer:
    """Ask history for an operation's sake.

    Raises:
        HistoryAwayError: It is away, or refuses.
    """
    try:
        return await history.ask(path, body, kind, within_s=_SETTLE_TIMEOUT_S)
    except QueryRefusedError as error:
        raise HistoryAwayError(str(error)) from error


class _Counted:
    """How far an operation was counted: history knows better, as it is told first."""

    def __init__(self, operation: LongOperation, count: Count) -> None:
        self._done, self._failed = operation.done, operation.failed
        self._count = count

    async def catch_up(self, progress: Taken | Progress) -> None:
        """Count what history has settled, and keep the operation ours."""
        await self._count(
            progress.done - self._done, progress.failed - self._failed, progress.refusals
        )
        self._done, self._failed = progress.done, progress.failed

    async def renew(self) -> None:
        """Keep the operation ours."""
        await self._count(0, 0)
