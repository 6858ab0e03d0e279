"""Revoking tasks, so that each either starts or is REVOKED, and never both."""

import asyncio
import contextlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final

import orjson

from gateway.access.task_id import IssuedId
from gateway.errors import Problem
from gateway.rabbitmq.control import Control
from gateway.redis.client import RedisClient
from gateway.states.reading import States
from penstock.wire.kept_results import charge_to
from penstock.wire.keys import REVOKED_S
from penstock.wire.records import error_record

_ATTEMPTS: Final = 5
_AGAIN_S: Final = 0.2
_ENDED: Final = "already-ended"
_MARKED: Final = "1"


class Revocation:
    """Revokes tasks.

    Args:
        redis: From `make_redis`.
        states: Tells who runs a task.
        control: Stops it.
        result_expires_s: How long a record is kept.
    """

    def __init__(
        self,
        redis: RedisClient,
        states: States,
        control: Control,
        result_expires_s: int,
    ) -> None:
        self._keys = redis.keys
        self._script = redis.script("task_revoke", copied=True)
        self._ask_script = redis.script("task_ask", copied=True)
        self._states = states
        self._control = control
        self._kept_s = result_expires_s

    async def revoke(
        self,
        task_id: str,
        issued: IssuedId | None,
        *,
        terminate: bool,
        tenant: str | None,
        by: str = _MARKED,
    ) -> dict[str, Any]:
        """Revoke one task, and stop it if it runs and that is wanted.

        Args:
            task_id: The id.
            issued: What it says of itself; None: others issued it.
            terminate: Stop a running one, too.
            tenant: Whose it is, who is charged for what is kept of its end; None: nobody is.
            by: Who asks, if it knows again what it has revoked: the same one revokes a task as
                often as it likes, everyone else gets `already-ended` the second time.

        Returns:
            The answer of the API: `id`, `state`, `terminating` or `revoking`.

        Raises:
            Problem: `already-ended`, which changes nothing. `not-terminable`, `state-unavailable`,
                `broker-unavailable`: `revoked` in it says whether the task was revoked all the
                same, and a repetition finds out.
        """
        if issued is None or issued.apps:
            return await self._ask_workers(task_id, issued, terminate=terminate)
        tracked = issued.tracked
        due_in_s = _due_in_s(issued)
        keys = self._keys.task(task_id)
        body = revoked_record(task_id, "revoked") if tracked else b""
        usage, gone = charge_to(tenant, time.time(), self._kept_s)
        with _perhaps_revoked(task_id):
            outcome, state = await self._script(
                keys=[keys.record, keys.events, keys.ended, keys.revoked, *usage],
                args=[body, self._kept_s, due_in_s + REVOKED_S, by, *gone],
            )
        if outcome == b"ended":
            raise _ended(task_id, state)
        terminating = False
        if terminate and (outcome == b"running" or not tracked):
            with _surely_revoked(task_id):
                terminating = await self._terminate(task_id, issued)
        answer: dict[str, Any] = {"id": task_id}
        if tracked:
            answer["state"] = state.decode()
        else:
            answer["tracked"] = False
        return {**answer, "terminating": terminating}

    async def _ask_workers(
        self, task_id: str, issued: IssuedId | None, *, terminate: bool
    ) -> dict[str, Any]:
        """Revoke a task that workers may take which are not ours.

        They know no mark of ours; their own memory is the best there is. No end is written down
        here: the gate, or a worker that drops the task, ours or another, does it.

        Raises:
            Problem: `already-ended`, `not-terminable`, `state-unavailable`, `broker-unavailable`.
        """
        keys = self._keys.task(task_id)
        due_in_s = 0 if issued is None else _due_in_s(issued)
        with _perhaps_revoked(task_id):
            outcome, state = await self._ask_script(
                keys=[keys.record, keys.ended, keys.revoked],
                args=[due_in_s + REVOKED_S],
            )
            if state == b"UNKNOWN" and outcome != b"ended":  # the script reads JSON
                found = (await self._states.read({task_id: issued}))[task_id]
                state = (found.state or "UNKNOWN").encode()
                outcome = b"ended" if found.final else outcome
            if outcome == b"ended":
                raise _ended(task_id, state)
            answer: dict[str, Any] = {"id": task_id}
            tracked = issued is None or issued.tracked
            answer |= {"state": state.decode()} if tracked else {"tracked": False}
            if outcome == b"running" and terminate:
                return answer | {"terminating": await self._terminate(task_id, issued)}
            arguments = {"task_id": task_id, "terminate": terminate, "signal": "SIGTERM"}
            await self._control.broadcast("revoke", arguments)
        running = outcome == b"running"
        return answer | ({"terminating": False} if running else {"revoking": True})

    async def _terminate(self, task_id: str, issued: IssuedId | None) -> bool:
        """Have its worker stop it; whether it is being stopped.

        Raises:
            Problem: `not-terminable`, `broker-unavailable`, `state-unavailable`.
        """
        for attempt in range(_ATTEMPTS):
            state = (await self._states.read({task_id: issued}))[task_id]
            if state.final:
                return False
            said = await self._ask(task_id, state.worker)
            if said != "unknown":
                return True
            # A prefork child stores STARTED a moment before its parent knows that it accepted.
            if attempt + 1 < _ATTEMPTS:
                await asyncio.sleep(_AGAIN_S)
        return False

    async def _ask(self, task_id: str, worker: str | None) -> str:
        """Ask the worker, or all: `terminating`, `unknown`, or `asked` when none says which.

        Raises:
            Problem: `not-terminable`, `broker-unavailable`.
        """
        destination = [worker] if worker else None
        replies = await self._control.ask(
            "penstock_terminate", {"task_id": task_id}, destination, enough=_decided
        )
        answers = [answer for _, answer in replies if isinstance(answer, dict)]
        for answer in filter(_decided, answers):
            if answer.get("ok") == "terminating":
                return "terminating"
            raise Problem("not-terminable", "a function on a thread cannot be stopped from outside")
        if any(answer.get("ok") == "unknown" for answer in answers):
            return "unknown"
        # No worker knew our command, or none answered in time: Celery's own does no harm.
        arguments = {"task_id": task_id, "terminate": True, "signal": "SIGTERM"}
        await self._control.broadcast("revoke", arguments, destination)
        return "asked"


@contextlib.contextmanager
def _perhaps_revoked(task_id: str) -> Iterator[None]:
    """Say of a refusal that its task may be revoked all the same."""
    try:
        yield
    except Problem as problem:
        if problem.code == _ENDED:
            raise
        words = "the task may be revoked all the same"
        raise _although(problem, task_id, "unknown", words) from problem


@contextlib.contextmanager
def _surely_revoked(task_id: str) -> Iterator[None]:
    """Say of a refusal that its task is revoked: it runs, and never starts again."""
    try:
        yield
    except Problem as problem:
        raise _although(problem, task_id, "yes", "the task never starts again") from problem


def _although(problem: Problem, task_id: str, revoked: str, words: str) -> Problem:
    again = "" if problem.status == HTTPStatus.CONFLICT else ": repeat the request"
    return Problem(
        problem.code,
        f"{problem.detail}; {words}{again}",
        retry_after_s=problem.retry_after_s,
        members={**problem.members, "id": task_id, "revoked": revoked},
    )


def _due_in_s(issued: IssuedId) -> int:
    """Return in how many seconds a task is due, at the latest."""
    return max(0, int(issued.due_by - time.time()))


def _decided(answer: Any) -> bool:
    """Return whether one worker's answer says all: it runs the task, and stops it or cannot."""
    return isinstance(answer, dict) and (
        answer.get("ok") == "terminating" or answer.get("error") == "not-terminable"
    )


def _ended(task_id: str, state: bytes) -> Problem:
    return Problem(
        _ENDED,
        "the task has already ended",
        members={"id": task_id, "state": state.decode()},
    )


def revoked_record(task_id: str, reason: str, **members: Any) -> bytes:
    """A REVOKED record without its opening brace, as Celery's `mark_as_revoked` stores it."""
    error = error_record("TaskRevokedError", reason, "celery.exceptions")
    return final_record("REVOKED", task_id, error, **members)


def final_record(state: str, task_id: str, error: dict[str, Any], **members: Any) -> bytes:
    """The record of an end that no worker saw, without its opening brace: the state goes first.

    Args:
        state: FAILURE or REVOKED.
        task_id: The id.
        error: from `error_record`.
        members: What else is known; None is left out.
    """
    record = {
        "status": state,
        "task_id": task_id,
        **{name: value for name, value in members.items() if value is not None},
        "date_done": datetime.now(UTC).isoformat(),
        "children": [],
        "traceback": None,
        "result": error,
    }
    return orjson.dumps(record)[1:]
