"""/v1/tasks/{id}: what became of a task; revoking it."""

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from typing import Annotated, Any, Final

import msgspec
import orjson
from aiohttp import web

from gateway.access.auth import Caller, require
from gateway.access.known_ids import unknown_task_id
from gateway.access.task_id import IssuedId
from gateway.api.audited import audited
from gateway.api.kept_requests import WITH, StateWithRequest, with_request
from gateway.api.operation import JSON_BODY, READING, Content, Operation, answer
from gateway.api.parts import ACCESS, ENDINGS, INTAKE, STATES, WATCHING
from gateway.api.queries import WAIT, choice
from gateway.api.streamed import JSON, streamed
from gateway.api.submit import STATE_EXAMPLE, TASK_ID
from gateway.decoding.typed_json import decode_with
from gateway.errors import Problem
from gateway.http.media_types import check_json
from gateway.states.reading import States
from gateway.states.state import State, TaskState

MAX_IDS = 1000
"""Ids of one status request."""
_MAX_STATUS_BYTES = 1024 * 1024
_TASK = "/v1/tasks/{id:(?!(?:bulk|status|retry|revoke)$)[^/]+}"
"""Not the nouns beside the ids: what is not a POST there is the wrong method, no unknown id."""


class StatusRequest(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Body of POST /v1/tasks/status."""

    ids: Annotated[list[str], msgspec.Meta(max_length=MAX_IDS)]


_decode_status = msgspec.json.Decoder(StatusRequest).decode


class TaskStates(msgspec.Struct):
    """In the order of the ids."""

    tasks: list[TaskState]


class Revoked(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What was done about a task that is to end."""

    id: str
    state: str | None = None
    """REVOKED: it never starts. Else it runs, or others issued it."""
    tracked: bool | None = None
    """False: no single state exists."""
    terminating: bool | None = None
    """Whether its worker is stopping it."""
    revoking: bool | None = None
    """True: others issued the id; workers or the broker report the end, if there is one."""


TERMINATE: Final = choice(
    "terminate",
    "Also stop a running one.",
    {"true": True, "false": False, "1": True, "0": False},
    default=False,
    expected="true or false",
)
SHOW = Operation(
    summary="The state of one task.",
    tag="Tasks",
    scope="read",
    query=(WAIT, WITH),
    answers={200: answer("What is known of it.", Content(StateWithRequest, STATE_EXAMPLE))},
    refusals=(*READING, "history-unavailable"),
)
RESULT = Operation(
    summary="The bare result.",
    tag="Tasks",
    scope="read",
    query=(WAIT,),
    answers={
        200: answer("The value that the task returned.", Content(Any, 3)),
        202: answer("It has not ended.", Content(TaskState, {"id": TASK_ID, "state": "PENDING"})),
    },
    refusals=(*READING, "task-failed", "task-revoked", "not-found", "not-acceptable"),
)
STATUS = Operation(
    summary="The states of up to 1,000 tasks.",
    tag="Tasks",
    scope="read",
    body=(Content(StatusRequest, {"ids": [TASK_ID]}),),
    query=(WAIT,),
    answers={
        200: answer("In the order of the ids.", Content(TaskStates, {"tasks": [STATE_EXAMPLE]}))
    },
    refusals=(*JSON_BODY, "state-unavailable"),
)
REVOKE = Operation(
    summary="Revoke a task; one that has not started never will.",
    tag="Tasks",
    scope="submit",
    query=(TERMINATE,),
    answers={
        202: answer(
            "Revoked, being stopped, or `revoking`: workers of an app are asked, REVOKED is told "
            "when one of them has dropped it.",
            Content(Revoked, {"id": TASK_ID, "state": "REVOKED", "terminating": False}),
        )
    },
    refusals=(*READING, "already-ended", "not-terminable", "broker-unavailable"),
)


def routes() -> list[web.RouteDef]:
    """Return the routes of this noun."""
    return [
        web.post("/v1/tasks/status", status, operation=STATUS),
        web.get(_TASK, show, operation=SHOW),
        web.get("/v1/tasks/{id}/result", result, operation=RESULT),
        web.delete(_TASK, revoke, operation=REVOKE),
    ]


async def show(request: web.Request) -> web.StreamResponse:
    """The state of one task; `?wait=` waits for its end."""
    caller = require(request, "read")
    wanted = WITH.of(request)
    try:
        state = await _state(request, caller)
    except Problem as problem:
        if not wanted:
            raise
        return await with_request(request, caller, problem)
    if wanted:
        return await with_request(request, caller, state)
    return web.Response(body=state.to_json(admin=caller.admin), headers=JSON)


async def result(request: web.Request) -> web.StreamResponse:
    """The bare result, byte for byte as the worker stored it."""
    caller = require(request, "read")
    state = await _state(request, caller)
    if state.result_absent is not None:
        raise Problem("not-acceptable", state.result_absent, members={"id": state.id})
    if state.state == "SUCCESS":
        return web.Response(body=state.result or b"null", headers=JSON)
    if state.final:
        code = "task-revoked" if state.state == "REVOKED" else "task-failed"
        error = state.error or {}
        members = {"id": state.id, "state": state.state, "error": {**error}}
        detail = f"{error.get('type', state.state)}: {error.get('message', '')}"[:1000]
        raise Problem(code, detail, members=members)
    if not state.tracked:
        raise Problem("not-found", "the task is not tracked: no single result exists")
    return web.Response(status=202, body=state.to_json(admin=caller.admin), headers=JSON)


async def status(request: web.Request) -> web.StreamResponse:
    """The states of up to 1,000 tasks, read in one round trip; `?wait=` waits for all ends."""
    caller = require(request, "read")
    check_json(request)
    wait_s = WAIT.of(request)
    body = await request.app[INTAKE].bodies.read(request, _MAX_STATUS_BYTES)
    ids = decode_with(_decode_status, body).ids
    known = await request.app[ACCESS].known_ids.of_tasks(caller, ids)
    if wait_s:
        await request.app[WATCHING].watch.until_ended(_tracked(known), wait_s)
    states = request.app[STATES]
    first = await states.read_first(known)
    if len(first) < len(known):
        return await streamed(request, _pieces(ids, known, states, admin=caller.admin))
    found = {task_id: state.to_json(admin=caller.admin) for task_id, state in first.items()}
    return web.Response(body=_tasks(ids, found), headers=JSON)


@audited("task.revoke")
async def revoke(request: web.Request) -> web.StreamResponse:
    """Revoke a task; `?terminate=true` also stops a running one."""
    caller = require(request, "submit")
    task_id = request.match_info["id"]
    terminate = TERMINATE.of(request)
    known_ids = request.app[ACCESS].known_ids
    issued, tenant = known_ids.of_task(caller, task_id), known_ids.tenant_of(caller, task_id)
    endings = request.app[ENDINGS]
    try:
        revoked = await endings.revocation.revoke(
            task_id, issued, terminate=terminate, tenant=tenant
        )
    except Problem as problem:
        if problem.members.get("state") == "REVOKED":
            # An earlier request may have revoked it and not come this far; twice is one event.
            await endings.events.revoked(task_id)
        raise
    if revoked.get("state") == "REVOKED":
        await endings.events.revoked(task_id)
    return web.Response(status=202, body=msgspec.json.encode(Revoked(**revoked)), headers=JSON)


async def _state(request: web.Request, caller: Caller) -> State:
    """The state of the task of the path, after `?wait=`.

    Raises:
        Problem: `unknown-task-id`, `result-expired`, `state-unavailable`, `invalid-request`.
    """
    task_id = request.match_info["id"]
    wait_s = WAIT.of(request)
    issued = request.app[ACCESS].known_ids.of_task(caller, task_id)
    states = request.app[STATES]
    state = (await states.read({task_id: issued}))[task_id]
    if wait_s and state.tracked and not state.final and state.code is None:
        await request.app[WATCHING].watch.until_ended({task_id: issued}, wait_s)
        state = (await states.read({task_id: issued}))[task_id]
    if state.code == "unknown-task-id":
        raise unknown_task_id()
    if state.code == "result-expired":
        raise Problem("result-expired", "the task ended, and its result is no longer kept")
    if state.code is not None:
        raise Problem(state.code, "the stored record is not JSON that Celery writes")
    return state


def _tracked(known: Mapping[str, IssuedId | None]) -> dict[str, IssuedId | None]:
    return {
        task_id: issued for task_id, issued in known.items() if issued is None or issued.tracked
    }


def _unknown(task_id: str) -> bytes:
    return orjson.dumps({"id": task_id, "code": "unknown-task-id"})


def _tasks(ids: Iterable[str], found: Mapping[str, bytes]) -> bytes:
    return b'{"tasks":[%b]}' % b",".join(found.get(i) or _unknown(i) for i in ids)


async def _pieces(
    ids: Sequence[str], known: Mapping[str, IssuedId | None], states: States, *, admin: bool
) -> AsyncGenerator[bytes, None]:
    """Make an answer too large to hold: states are read as it is sent, and let go.

    Args:
        ids: As asked for.
        known: Those that the caller may ask about.
        states: Reads them.
        admin: Show tracebacks.

    Raises:
        RedisAwayError: As a problem: `state-unavailable`.
    """
    found = states.read_each((one for one in ids if one in known), known)
    separator = b'{"tasks":['
    for one in ids:
        yield separator
        yield (await anext(found)).to_json(admin=admin) if one in known else _unknown(one)
        separator = b","
    yield b"]}"
