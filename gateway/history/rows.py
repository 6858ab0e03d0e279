"""What the history process answers, as structs; and a task of it in the words of the API. Pure."""

from typing import Any

import msgspec

from gateway.states.state import TaskError, TaskState
from gateway.timestamps import rfc3339
from penstock.wire.records import FINAL

CELERYS = "celery"
MIXED = "mixed"
_MEANING = "json"
_NOT_KEPT = "the result is kept for less long than history"


class Error(msgspec.Struct, frozen=True):
    """Why a task failed."""

    type: str = ""
    message: str = ""
    traceback: str | None = None


class KeptRequest(msgspec.Struct, frozen=True):
    """With what a task was called: JSON texts, as they were in its message."""

    args: str | None = None
    kwargs: str | None = None
    embed: str | None = None
    options: dict[str, Any] = {}

    @property
    def meaning(self) -> str:
        """What objects of kombu's form in it are: `CELERYS`, `MIXED`, or empty: data."""
        return str(self.options.get(_MEANING, ""))

    @property
    def shown_options(self) -> dict[str, Any]:
        """How it was published, in the words of a submit."""
        return {name: value for name, value in self.options.items() if name != _MEANING}


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One task."""

    id: str
    task: str | None = None
    tenant: str | None = None
    state: str = "PENDING"
    queue: str | None = None
    worker: str | None = None
    root: str | None = None
    parent: str | None = None
    retried_from: str | None = None
    retries: int | None = None
    accepted_at_ms: int | None = None
    started_at_ms: int | None = None
    ended_at_ms: int | None = None
    runtime_s: float | None = None
    waited_s: float | None = None
    error: Error | None = None
    failure: str | None = None
    changes: list[dict[str, Any]] = []
    request: KeptRequest | None = None
    masked: bool = False


class Page(msgspec.Struct, frozen=True):
    """Tasks, and the place behind them."""

    tasks: list[Task]
    next: tuple[int, str] | None


class Found(msgspec.Struct, frozen=True):
    """One task, or none."""

    task: Task | None


class Group(msgspec.Struct, frozen=True):
    """Failures that are alike."""

    failure: str
    count: int
    first_at_ms: int
    last_at_ms: int
    per_hour: list[int]
    example: str
    task: str | None = None
    error: Error | None = None


class Groups(msgspec.Struct, frozen=True):
    """Groups, and how many are left out."""

    failures: list[Group]
    not_shown: int = 0
    total: int = 0


class Counted(msgspec.Struct, frozen=True):
    """How many tasks are meant."""

    matched: int
    without_request: int
    unknown: int = 0


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """A task of an operation."""

    n: int
    id: str
    new_id: str | None = None
    """The id under which it is published again, once that is stored."""
    task: str | None = None
    tenant: str | None = None
    request: KeptRequest | None = None
    code: str | None = None
    """Why nothing can be done about it."""


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """The next tasks of an operation, and how far it is."""

    items: list[Item] | None
    """None: there is no such operation."""
    rate: float | None = None
    who: str = ""
    tenant: str = ""
    done: int = 0
    failed: int = 0
    refusals: dict[str, int] = {}
    """Why those failed: how many by code."""
    terminate: bool = False


class Assigned(msgspec.Struct, frozen=True):
    """New ids by number."""

    ids: dict[str, str]


class Progress(msgspec.Struct, frozen=True):
    """How far an operation is."""

    done: int
    failed: int
    refusals: dict[str, int] = {}


class Status(msgspec.Struct, frozen=True):
    """How far history is behind."""

    lag_s: float | None = None


class HistoryState(TaskState, kw_only=True, omit_defaults=True):
    """The state of a task as history has it."""

    queue: str | None = None
    runtime_s: float | None = None
    """How long it ran, the last time."""
    waited_s: float | None = None
    """From when it was due until it started."""
    failure: str | None = None
    """Id of the group of its failure, see GET /v1/failures."""
    root: str | None = None
    """Id of the first task of its canvas, for `?root=`."""
    parent: str | None = None
    """Id of the task that published it."""


def state_of(task: Task, *, admin: bool) -> dict[str, Any]:
    """Return the fields of a state.

    Args:
        task: As history has it.
        admin: Show the traceback.
    """
    error = task.error
    return {
        "id": task.id,
        "task": task.task,
        "state": task.state,
        "accepted_at": _time(task.accepted_at_ms),
        "started_at": _time(task.started_at_ms),
        "finished_at": _time(task.ended_at_ms) if task.state in FINAL else None,
        "retries": task.retries,
        "worker": task.worker,
        "retried_from": task.retried_from,
        "error": None
        if error is None
        else TaskError(error.type, error.message, (error.traceback or None) if admin else None),
    }


def listed(task: Task, *, admin: bool) -> HistoryState:
    """Return a row of a list."""
    return HistoryState(
        **state_of(task, admin=admin),
        queue=task.queue,
        runtime_s=task.runtime_s,
        waited_s=task.waited_s,
        failure=task.failure,
        root=task.root,
        parent=task.parent,
    )


def outlived(task: Task, *, admin: bool) -> TaskState:
    """Return the state of a task whose record is gone."""
    absent = _NOT_KEPT if task.state == "SUCCESS" else None
    return TaskState(**state_of(task, admin=admin), result_absent=absent)


def _time(unix_ms: int | None) -> str | None:
    return None if unix_ms is None else rfc3339(unix_ms / 1000)
