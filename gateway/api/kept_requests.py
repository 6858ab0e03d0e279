"""With which arguments and options a task was submitted, as history kept them."""

from typing import Any, Final

import msgspec
from aiohttp import web

from gateway.access.auth import Caller
from gateway.api.history import one
from gateway.api.queries import choice
from gateway.errors import Problem
from gateway.history.rows import outlived
from gateway.states.state import State, TaskState
from gateway.submitting.task_request import Args, Kwargs

_JSON = {"Content-Type": "application/json; charset=utf-8"}
_OUTLIVED: Final = frozenset({"result-expired", "unknown-task-id"})
"""Refusals of tasks of which history may know all the same."""


class TaskKept(msgspec.Struct, kw_only=True, omit_defaults=True):
    """With what a task was submitted."""

    args: Args
    kwargs: Kwargs
    options: dict[str, Any]
    masked: bool | None = None
    """True: values of some keys are `***` (HISTORY_MASK); it cannot be published again."""


class StateWithRequest(TaskState, kw_only=True, omit_defaults=True):
    """The state of a task."""

    request: TaskKept | None = None
    """Only `?with=request`, where it was kept: HISTORY_ARGUMENTS, `keep_arguments`, 64 KiB."""


WITH: Final = choice(
    "with",
    "`request`: also with which arguments and options it was submitted, if history kept them; the "
    "state is that of history when the result is no longer kept.",
    {"": False, "request": True},
    default=False,
    expected="request",
)


async def with_request(
    request: web.Request, caller: Caller, state: State | Problem
) -> web.Response:
    """Answer a state, and with what the task was submitted.

    Args:
        request: Names the task.
        caller: Who asks.
        state: As Redis has it, or why there is none.

    Raises:
        Problem: `history-unavailable`; that of the state, if history knows nothing either.
    """
    if isinstance(state, Problem) and state.code not in _OUTLIVED:
        raise state
    task = await one(request, caller, request.match_info["id"])
    if isinstance(state, State):
        body = state.to_json(admin=caller.admin)
    elif task is None:
        raise state
    else:
        body = msgspec.json.encode(outlived(task, admin=caller.admin))
    kept = None if task is None else task.request
    if task is not None and kept is not None and kept.args is not None:
        shown = TaskKept(
            args=msgspec.Raw(kept.args.encode()),
            kwargs=msgspec.Raw((kept.kwargs or "{}").encode()),
            options=kept.shown_options,
            masked=task.masked or None,
        )
        body = body[:-1] + b',"request":' + msgspec.json.encode(shown) + b"}"
    return web.Response(body=body, headers=_JSON)
