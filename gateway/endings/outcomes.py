"""Ends that the broker decided, recorded: the consumer of `dead.outcomes`.

A copy of every dead letter comes here. Unless the task ended before, its end is stored and
published as a worker would have done, and only then is the letter acknowledged:

    x-death reason `expired` in a work queue       → REVOKED
    `rejected`, `delivery_limit`, `maxlen`         → FAILURE, DeadLettered
    none, or from a delay level: no queue took it   → FAILURE, DeadLettered: unrouted

Letters that a worker published itself (`x-penstock-reason`) are let go: it records the end, too.
"""

import asyncio
import dataclasses
import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.access.task_id import claims
from gateway.endings.callback_events import CallbackEvents, event_of, insist
from gateway.endings.dependents import Dependency, Dependent, unbegun
from gateway.endings.original_request import request_as_sent
from gateway.endings.revocation import final_record, revoked_record
from gateway.rabbitmq.connection import Connection
from gateway.rabbitmq.consumer import Consumer, Delivery
from gateway.redis.client import RedisClient
from gateway.redis.faults import RedisAwayError, WrongTypeError
from penstock.backoff import backoff_s
from penstock.wire.headers import COPY_HEADER, REASON_HEADER, RETRIED_HEADER, TENANT_HEADER
from penstock.wire.kept_results import charge_to
from penstock.wire.names import GATE_QUEUE, OUTCOMES_QUEUE
from penstock.wire.records import error_record

log = logging.getLogger(__name__)

AT_ONCE: Final = 100
"""Ends of one canvas that are recorded in one round trip; others' have their turn in between."""
DEAD_LETTERED: Final = "DeadLettered"
"""The type of the error of a task that the broker ended."""

_DELAY_QUEUES: Final = ("penstock_delay_", "celery_delayed_")
_SANE_ID: Final = re.compile(r"[\x21-\x7e]{1,255}")


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one task."""

    task_id: str
    state: str
    reason: str
    """One word of RabbitMQ's, or `unrouted`."""
    task: str | None = None
    retries: int | None = None
    retried_from: str | None = None
    """The task that was published again as this one."""
    copy: str = ""
    """Nonce of a message that may have been published twice."""
    kept: bool = True
    """Whether its state is kept; else there is at most a callback, or what stands behind it."""
    unneeded: bool = False
    """Whether it was linked to a task that ended otherwise."""
    purged: bool = False
    """Whether its queue was purged."""
    tenant: str = ""
    """Whose it is, who is charged for what is kept of its end; empty: nobody is."""

    def record(self) -> bytes:
        """The final record without its opening brace."""
        members = {
            "name": self.task,
            "retries": self.retries,
            "retried_from": self.retried_from,
        }
        if self.unneeded:
            error = {
                "exc_type": "NotNeeded",
                "exc_message": [self.reason],
                "exc_module": "penstock.worker.errors",
            }
            return final_record("REVOKED", self.task_id, error, **members)
        if self.purged:
            error = error_record("Purged", self.reason, "penstock")
            return final_record(self.state, self.task_id, error, **members)
        if self.state == "REVOKED":
            return revoked_record(self.task_id, self.reason, **members)
        error = error_record(DEAD_LETTERED, self.reason, "penstock")
        return final_record("FAILURE", self.task_id, error, **members)


def outcome(headers: Mapping[str, Any]) -> Outcome | None:
    """What a dead letter says of its task; None when there is nothing to record.

    Args:
        headers: Of the message; anything may be in them.
    """
    task_id = sane_id(headers)
    if task_id is None:
        log.warning("dead-letter-without-id", extra={"task": repr(headers.get("task"))[:200]})
        return None
    issued = claims(task_id)
    tracked = issued is None or issued.tracked
    if REASON_HEADER in headers:
        return None
    kept = tracked and headers.get("ignore_result") is not True
    queue, reason = _last_death(headers.get("x-death"))
    expired = reason == "expired" and not queue.startswith(_DELAY_QUEUES)
    if not queue or queue.startswith((*_DELAY_QUEUES, GATE_QUEUE)):
        reason = "unrouted"
    task, retries, copy = headers.get("task"), headers.get("retries"), headers.get(COPY_HEADER)
    retried_from = headers.get(RETRIED_HEADER)
    return Outcome(
        task_id,
        "REVOKED" if expired else "FAILURE",
        reason,
        task=task if isinstance(task, str) else None,
        retries=retries if isinstance(retries, int) and not isinstance(retries, bool) else None,
        retried_from=retried_from if isinstance(retried_from, str) else None,
        copy=copy if isinstance(copy, str) else "",
        kept=kept,
    )


def purged(headers: Mapping[str, Any], queue: str) -> Outcome | None:
    """What becomes of the task of a message that is purged; None: it is the message of no task.

    Args:
        headers: Of the message; anything may be in them.
        queue: That it waited in.
    """
    end = outcome({name: value for name, value in headers.items() if name != REASON_HEADER})
    if end is None:
        return None
    words = f"queue {queue!r} was purged"
    return dataclasses.replace(end, state="REVOKED", reason=words, purged=True)


def tenant_of(headers: Mapping[str, Any]) -> str:
    """Return the tenant that a message names; empty: no gateway published it."""
    tenant = headers.get(TENANT_HEADER)
    return tenant if isinstance(tenant, str) else ""


def sane_id(headers: Mapping[str, Any]) -> str | None:
    """Return the id of a message's task; None: it has none that could be one."""
    task_id = headers.get("id")
    return task_id if isinstance(task_id, str) and _SANE_ID.fullmatch(task_id) else None


def _last_death(deaths: Any) -> tuple[str, str]:
    """Queue and reason of the newest entry: RabbitMQ puts it first."""
    newest = deaths[0] if isinstance(deaths, list) and deaths else None
    if not isinstance(newest, Mapping):
        return "", ""
    return str(newest.get("queue", "")), str(newest.get("reason", ""))


class Outcomes:
    """Records them.

    Args:
        connection: Brings the letters.
        redis: From `make_redis`.
        result_expires_s: How long a record is kept.
        callbacks: Announces ends to callback URLs.
        keeps: Whether history may keep what a task was asked with.
    """

    def __init__(
        self,
        connection: Connection,
        redis: RedisClient,
        result_expires_s: int,
        callbacks: CallbackEvents,
        keeps: Callable[[str], bool] = lambda _: True,
    ) -> None:
        self._keeps = keeps
        self.consumer = Consumer(connection, OUTCOMES_QUEUE, "outcomes", self.handle)
        self._redis = redis
        self._script = redis.script("task_end", copied=True)
        self._kept_s = result_expires_s
        self._callbacks = callbacks
        self.on_recorded: Callable[[str | None, str], None] = lambda _task, _state: None
        """Called with the task and the state of each."""

    async def handle(self, letter: Delivery) -> None:
        """Record the end of one letter's task, however long Redis is away."""
        end = outcome(letter.headers)
        if end is not None:
            await self.finish(end, letter)

    async def finish(self, end: Outcome, message: Delivery) -> None:
        """Record the end of a task and of what waits for it, however long Redis is away.

        Args:
            end: Its end, unless it ended before.
            message: Its message.
        """
        asked = b""
        if end.state == "FAILURE" and self._keeps(end.task or ""):
            asked = request_as_sent(message, _last_death(message.headers.get("x-death"))[0])
        end = dataclasses.replace(end, tenant=tenant_of(message.headers))
        [state] = await self._record([end], asked)
        await self._announce(end.task_id, state, message.headers)
        if state == end.state:
            behind = unbegun(message.body)
            for start in range(0, len(behind), AT_ONCE):
                await self._record_unbegun(end, behind[start : start + AT_ONCE])

    async def _announce(self, task_id: str, state: str | None, headers: Mapping[str, Any]) -> None:
        """Announce an end to its callback, however long that takes."""
        event = event_of(task_id, state, headers) if state is not None else None
        if event is not None:
            await insist(lambda: self._callbacks.announce(event))

    async def _record_unbegun(self, cause: Outcome, behind: Sequence[Dependent]) -> None:
        """Record the ends of tasks that wait for one that the broker ended."""
        states = await self._record([_behind(cause, one) for one in behind])
        await asyncio.gather(
            *(
                self._announce(one.task_id, state, {**one.headers, "task": one.task})
                for one, state in zip(behind, states, strict=True)
            )
        )

    async def _record(self, ends: Sequence[Outcome], asked: bytes = b"") -> list[str | None]:
        """Record ends, unless they ended before; return the state in which each is now.

        None while another copy of its message runs: that one will record its end.
        """
        kept = [end for end in ends if end.kept]
        calls = [self._call(end, asked) for end in kept]
        failures = 0
        while True:
            try:
                states = await self._record_kept(kept, calls)
            except WrongTypeError:
                raise  # the consumer gives the letter a few more chances
            except RedisAwayError:
                await asyncio.sleep(backoff_s(failures))
                failures += 1
            else:
                return [states[end.task_id] if end.kept else end.state for end in ends]

    async def _record_kept(
        self, ends: Sequence[Outcome], calls: Sequence[tuple[list[str], list[Any]]]
    ) -> dict[str, str | None]:
        """Record ends in one round trip; return the state of each task, by id.

        Raises:
            RedisAwayError: It is not known which are recorded.
        """
        if len(calls) == 1:
            [(keys, args)] = calls
            answers = [await self._script(keys=keys, args=args)]
        else:
            answers = (
                await self._redis.execute_each("task_end", calls, copied=True) if calls else []
            )
        states: dict[str, str | None] = {}
        before: list[str] = []
        for end, answer in zip(ends, answers, strict=True):
            states[end.task_id] = end.state if answer == b"recorded" else None
            if answer == b"recorded":
                self.on_recorded(end.task, end.state)
            elif answer == b"ended":
                before.append(end.task_id)
        if before:
            marks = await self._redis.mget(*(self._redis.keys.task(one).ended for one in before))
            states |= {
                one: None if mark is None else str(mark, "ascii")
                for one, mark in zip(before, marks, strict=True)
            }
        return states

    def _call(self, end: Outcome, asked: bytes) -> tuple[list[str], list[Any]]:
        """Return keys and arguments of the script that records an end."""
        keys = self._redis.keys.task(end.task_id)
        usage, gone = charge_to(end.tenant, time.time(), self._kept_s)
        names = [keys.record, keys.events, keys.ended, keys.copy, *usage]
        return names, [end.state, end.record(), self._kept_s, end.copy, asked, *gone]


def _behind(cause: Outcome, behind: Dependent) -> Outcome:
    """Return the end of a task that waits for one that the broker ended."""
    issued = claims(behind.task_id)
    unneeded = behind.why is Dependency.LINK
    states = {
        Dependency.LINK: "REVOKED",
        Dependency.CHORD: "FAILURE",
        Dependency.CHAIN: cause.state,
    }
    waits = "is linked to" if unneeded else "waits for"
    return Outcome(
        behind.task_id,
        states[behind.why],
        f"task {cause.task_id}, which it {waits}, ended: {cause.reason}",
        behind.task,
        kept=issued is None or issued.tracked,
        unneeded=unneeded,
        tenant=tenant_of(behind.headers) or cause.tenant,
    )
