"""What happened: tasks listed and searched, the changes of each."""

from typing import Any, Final

import msgspec
from aiohttp import web

from gateway.access.auth import Caller, require
from gateway.access.known_ids import unknown_task_id
from gateway.api.fields import Count
from gateway.api.operation import Content, Operation, answer
from gateway.api.parts import ACCESS, HISTORY
from gateway.api.queries import Parameter, text, whole_number
from gateway.api.submit import TASK_ID
from gateway.errors import invalid_request
from gateway.history.cursors import Place, place_of, text_of
from gateway.history.filters import STATES, FilterError, where_of
from gateway.history.rows import Found, HistoryState, Page, Task, listed
from gateway.states.state import TaskError
from gateway.timestamps import Time, rfc3339
from penstock.wire import history_queries as wire
from penstock.wire.history_queries import Where

_JSON = {"Content-Type": "application/json; charset=utf-8"}
MOST = 500
"""Tasks of one page."""


class TaskList(msgspec.Struct):
    """Tasks, newest first."""

    tasks: list[HistoryState]
    next: str | None
    """For `?cursor=`, with the same filters; null: these are the last."""


class Change(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A change of state; what is not known is absent."""

    state: str
    at: Time | None = None
    attempt: Count | None = None
    """How often the task had been retried by its own."""
    worker: str | None = None
    error: TaskError | None = None
    progress: Any = None


class Timeline(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Every change of a task, the first one first, and where it belongs."""

    id: str
    changes: list[Change]
    queue: str | None = None
    failure: str | None = None
    """Id of the group of its failure, see GET /v1/failures."""
    root: str | None = None
    """Id of the first task of its canvas, for `?root=` of GET /v1/tasks."""
    parent: str | None = None
    """Id of the task that published it."""


def _cursor(value: str) -> Place | None:
    return place_of(value) if value else None


_LISTED = ", ".join(STATES)
STATE = text("state", f"One or more states, separated by commas: {_LISTED}.")
TASK_NAME = text("task", "The name, or a pattern of it: `reports.*`.")
SINCE = text("since", "Accepted at that time or later (RFC 3339, or unix seconds).")
UNTIL = text("until", "Accepted before that time.")
FILTERS: Final = (
    STATE,
    TASK_NAME,
    text("queue", "Its queue."),
    text("worker", "The worker that had it last."),
    text("error", "The type of its error: `ValueError`."),
    text("failure", "Id of a group of failures, from GET /v1/failures."),
    SINCE,
    UNTIL,
    text("root", "Id of the first task of its canvas."),
    text("q", "Whole words of its name, its error, and its arguments if kept: all must be there."),
)
LIMIT = whole_number("limit", "Tasks at most (50).", default=50, at_most=MOST)
CURSOR: Parameter[Place | None] = Parameter(
    name="cursor",
    words="`next` of the page before.",
    schema={"type": "string"},
    read=_cursor,
    expected="`next` of the page before",
    default=None,
)
TASK_EXAMPLE = {
    "id": TASK_ID,
    "task": "reports.build",
    "state": "FAILURE",
    "accepted_at": "2026-01-31T12:00:00.000Z",
    "started_at": "2026-01-31T12:00:05.012Z",
    "finished_at": "2026-01-31T12:00:05.020Z",
    "retries": 0,
    "worker": "celery@w1",
    "error": {"type": "ValueError", "message": "no data for 'Oslo'"},
    "queue": "default",
    "runtime_s": 0.008,
    "waited_s": 5.012,
    "failure": "5f0c2f5d8a1b3c4d",
}
LIST = Operation(
    summary="Tasks of your tenant, with `admin` of all, newest first; filters narrow them.",
    tag="History",
    scope="read",
    query=(*FILTERS, LIMIT, CURSOR),
    answers={
        200: answer(
            "A page of them; an empty filter does not restrict.",
            Content(TaskList, {"tasks": [TASK_EXAMPLE], "next": None}),
        )
    },
    refusals=("invalid-request", "history-unavailable"),
)
TIMELINE = Operation(
    summary="Every change of a task, also when its result is no longer kept.",
    tag="History",
    scope="read",
    answers={
        200: answer(
            "The first change first.",
            Content(
                Timeline,
                {
                    "id": TASK_ID,
                    "changes": [
                        {"state": "PENDING", "at": "2026-01-31T12:00:00.000Z"},
                        {
                            "state": "STARTED",
                            "at": "2026-01-31T12:00:05.012Z",
                            "attempt": 0,
                            "worker": "celery@w1",
                        },
                    ],
                },
            ),
        )
    },
    refusals=("unknown-task-id", "history-unavailable"),
)


def routes() -> list[web.RouteDef]:
    """Return the routes of this noun."""
    return [
        web.get("/v1/tasks", tasks, operation=LIST),
        web.get("/v1/tasks/{id}/timeline", timeline, operation=TIMELINE),
    ]


async def tasks(request: web.Request) -> web.Response:
    """A page of tasks, newest first."""
    caller = require(request, "read")
    limit, place = LIMIT.of(request), CURSOR.of(request)
    where = asked_where(request, caller)
    body = {"where": where.to_json(), "limit": limit, "behind": place}
    page = await request.app[HISTORY].ask(wire.TASKS, body, Page)
    rows = [listed(one, admin=caller.admin) for one in page.tasks]
    following = None if page.next is None else text_of(page.next)
    return web.Response(body=msgspec.json.encode(TaskList(rows, following)), headers=_JSON)


def asked_where(request: web.Request, caller: Caller) -> Where:
    """Return which tasks a query names, of those that the caller may see.

    Raises:
        Problem: `invalid-request`.
    """
    given: dict[str, Any] = {}
    for each in FILTERS:
        values = request.query.getall(each.name, [])
        if len(values) > 1 and each is not STATE:
            raise invalid_request(f"?{each.name}", "Expected once")
        given[each.name] = ",".join(values)
    try:
        return where_of(given, tenant_of(caller))
    except FilterError as error:
        raise invalid_request(f"?{error.name}", f"Expected {error.expected}") from error


def tenant_of(caller: Caller) -> str | None:
    """Return whose tasks a caller may see; None: everybody's."""
    return None if caller.admin else caller.tenant


async def timeline(request: web.Request) -> web.Response:
    """Every change of a task, by the id of the path."""
    caller = require(request, "read")
    task_id = request.match_info["id"]
    task = await one(request, caller, task_id)
    known = await request.app[ACCESS].known_ids.of_tasks(caller, (task_id,))
    issued = known.get(task_id)
    if task is None and issued is None:
        raise unknown_task_id()
    changes = [] if task is None else [_change(each) for each in task.changes]
    accepted_at = None if issued is None else issued.issued_at
    if task is not None and task.accepted_at_ms is not None:
        accepted_at = task.accepted_at_ms / 1000
    if accepted_at is not None and not any(each.state == "PENDING" for each in changes):
        changes.insert(0, Change(state="PENDING", at=rfc3339(accepted_at)))
    body = Timeline(id=task_id, changes=changes)
    if task is not None:
        body.queue, body.failure = task.queue, task.failure
        body.root, body.parent = task.root, task.parent
    return web.Response(body=msgspec.json.encode(body), headers=_JSON)


async def one(request: web.Request, caller: Caller, task_id: str) -> Task | None:
    """Return what history has of a task; None: nothing that the caller may see.

    Raises:
        HistoryAwayError: As a problem: `history-unavailable`.
    """
    body = {"id": task_id, "tenant": tenant_of(caller)}
    return (await request.app[HISTORY].ask(wire.TASK, body, Found)).task


def _change(change: dict[str, Any]) -> Change:
    at_ms, error = change.get("at_ms"), change.get("error")
    return Change(
        state=str(change.get("state")),
        at=None if at_ms is None else rfc3339(at_ms / 1000),
        attempt=change.get("attempt"),
        worker=change.get("worker"),
        error=TaskError(str(error.get("type")), str(error.get("message")))
        if isinstance(error, dict)
        else None,
        progress=change.get("progress"),
    )
