"""POST /v1/canvas: many tasks that belong together; GET /v1/groups/{id}: what became of a group."""

import asyncio
from typing import Any, Literal

import msgspec
from aiohttp import web

from gateway.access import idempotency
from gateway.access.auth import Caller, require
from gateway.access.carried import carried
from gateway.access.idempotency import Claim
from gateway.access.once import Answered, once
from gateway.access.task_id import claims
from gateway.access.work import work_of
from gateway.api.fields import Count
from gateway.api.operation import READING, SUBMITTING, Content, Operation, answer
from gateway.api.parts import ACCESS, CANVASES, INTAKE, WATCHING
from gateway.api.queries import WAIT
from gateway.api.streamed import JSON, streamed
from gateway.api.submit import STATE_EXAMPLE, TASK_ID
from gateway.canvas.canvas_request import (
    Canvas,
    ChainNode,
    ChordNode,
    GroupNode,
    Node,
    TaskNode,
    parse_canvas,
    walk,
)
from gateway.canvas.canvas_submission import CanvasPlan
from gateway.canvas.group_states import GroupStates, LongGroup, issued_ids
from gateway.errors import Problem
from gateway.http.body import CHUNK_BYTES
from gateway.http.media_types import check_json
from gateway.redis.faults import RedisAwayError
from gateway.states.state import TaskState
from gateway.timestamps import Time, issued_at

MAX_CANVAS_BYTES = 8 * 1024 * 1024
"""Expanded size of a canvas."""


class CanvasLinks(msgspec.Struct, omit_defaults=True):
    """Where to look next."""

    self: str
    stream: str | None = None
    """Of a task; a group has none."""


class CanvasReceipt(msgspec.Struct, kw_only=True, omit_defaults=True):
    """RabbitMQ confirmed every message that begins the canvas."""

    id: str
    """Of the final result: a task, or a group."""
    kind: Literal["task", "group"]
    state: Literal["PENDING"] | None = None
    """Absent where the result is not tracked."""
    tracked: bool
    ids: list[str]
    """Of every task, in order."""
    groups: list[str]
    """Of every group and header."""
    canvas: dict[str, Any]
    """The ids in the shape of the request."""
    accepted_at: Time
    links: CanvasLinks


class Group(msgspec.Struct, kw_only=True):
    """What is known of a group; above 8 MiB `tasks` comes first and `results` last."""

    id: str
    total: Count
    completed: Count
    ready: bool
    """Whether all have ended."""
    successful: bool
    counts: dict[str, Count]
    """State → how many tasks are in it."""
    results: list[Any]
    """In the order of the request; null where there is none (yet)."""
    tasks: list[TaskState]


_decode_receipt = msgspec.json.Decoder(CanvasReceipt).decode
_ADD = {"task": "demo.add", "args": [1, 2]}
_GROUP_EXAMPLE = {
    "id": "019b0e2c-4d5e-7f10-8a1b-2c3d4e5f6072-00a1b2c3d4e5",
    "total": 1,
    "completed": 1,
    "ready": True,
    "successful": True,
    "counts": {"SUCCESS": 1},
    "results": [3],
    "tasks": [STATE_EXAMPLE],
}
SUBMIT = Operation(
    summary="Submit a chain, group or chord.",
    tag="Tasks",
    scope="submit",
    body=(
        Content(Canvas, {"group": [_ADD, {"chain": [_ADD, {"task": "demo.add", "args": [3]}]}]}),
    ),
    query=(WAIT,),
    answers={
        200: answer("It ended within `wait`.", Content((TaskState, Group), _GROUP_EXAMPLE)),
        202: answer(
            "Accepted: the ids of every node.",
            Content(
                CanvasReceipt,
                {
                    "id": TASK_ID,
                    "kind": "task",
                    "state": "PENDING",
                    "tracked": True,
                    "ids": [TASK_ID],
                    "groups": [],
                    "canvas": {"id": TASK_ID, "task": "demo.add"},
                    "accepted_at": "2026-01-31T12:00:00.000Z",
                    "links": {
                        "self": f"/v1/tasks/{TASK_ID}",
                        "stream": f"/v1/tasks/{TASK_ID}/stream",
                    },
                },
            ),
        ),
    },
    refusals=SUBMITTING,
    idempotent=True,
)
SHOW_GROUP = Operation(
    summary="The tasks of a group: counts per state, results in order.",
    tag="Tasks",
    scope="read",
    query=(WAIT,),
    answers={200: answer("What is known of it.", Content(Group, _GROUP_EXAMPLE))},
    refusals=READING,
)


def routes() -> list[web.RouteDef]:
    """Return the routes of this noun."""
    return [
        web.post("/v1/canvas", submit, operation=SUBMIT),
        web.get("/v1/groups/{id}", show_group, operation=SHOW_GROUP),
    ]


async def submit(request: web.Request) -> web.StreamResponse:
    """Publish a canvas; 202 when RabbitMQ confirmed every message that begins it."""
    caller = require(request, "submit")
    check_json(request)
    wait_s = WAIT.of(request, queued="no") if request.query_string else None
    key = idempotency.key_of(request)
    body = await request.app[INTAKE].bodies.read(request, MAX_CANVAS_BYTES)
    attempt = _Attempt(request, caller, body)
    if key is not None:
        use = idempotency.key_use(request, caller, key, body)
        answered = await once(request.app[ACCESS].idempotency, use, attempt)
        told, replayed = _decode_receipt(answered.body), answered.replayed
    else:
        await attempt.ids()
        told, replayed = await attempt.publish_as(None), False
    if wait_s and told.tracked and not replayed:
        ended = await _ended(request, caller, told, wait_s)
        if ended is not None:
            return ended
    response = web.Response(status=202, body=msgspec.json.encode(told), headers=JSON)
    response.headers["Location"] = told.links.self
    if replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return response


async def show_group(request: web.Request) -> web.StreamResponse:
    """States and results of a group; `?wait=` waits for the end of all."""
    caller = require(request, "read")
    wait_s = WAIT.of(request)
    group_id = request.match_info["id"]
    issued = request.app[ACCESS].known_ids.of_group(caller, group_id)
    groups = request.app[CANVASES].groups
    members = await groups.members(group_id)
    if members is None and issued is None:
        raise Problem("unknown-task-id", "no group of this id was saved")
    if members is None:
        raise Problem("result-expired", "the group is no longer kept")
    if wait_s:
        await _until_ended(request, members, wait_s)
    return await _group(request, caller, group_id, await groups.read(members))


async def _parse(request: web.Request, body: bytes) -> Node:
    """The canvas of a body, each of whose tasks is a piece of work, refused or not.

    Raises:
        Problem: As `parse_canvas`.
    """
    if len(body) > CHUNK_BYTES:  # beside the loop, which goes on every few milliseconds
        root = await asyncio.to_thread(parse_canvas, body)
    else:
        root = parse_canvas(body)
    work_of(request).charge(sum(isinstance(node, TaskNode) for node in walk(root)))
    return root


async def _until_ended(request: web.Request, members: list[Any], wait_s: float) -> None:
    tracked = {one: issued for one, issued in issued_ids(members).items() if issued.tracked}
    await request.app[WATCHING].watch.until_ended(tracked, wait_s)


async def _ended(
    request: web.Request, caller: Caller, told: CanvasReceipt, wait_s: float
) -> web.StreamResponse | None:
    """The final result, if it is there in time."""
    result_id = told.id
    if told.kind == "task":
        state = (await request.app[WATCHING].watch.ended([result_id], wait_s)).get(result_id)
        if state is None:
            return None
        return web.Response(body=state.to_json(admin=caller.admin), headers=JSON)
    groups = request.app[CANVASES].groups
    try:
        members = await groups.members(result_id)
        if members is None:
            return None
        await _until_ended(request, members, wait_s)
        group = await groups.read(members)
        if not await group.ready():
            return None
    except RedisAwayError:
        return None
    return await _group(request, caller, result_id, group)


async def _group(
    request: web.Request, caller: Caller, group_id: str, group: GroupStates | LongGroup
) -> web.StreamResponse:
    if isinstance(group, LongGroup):
        return await streamed(request, group.pieces(group_id, admin=caller.admin))
    return web.Response(body=group.to_json(group_id, admin=caller.admin), headers=JSON)


class _Attempt:
    """A canvas, under an idempotency key or none: an `Attempt` of `once`."""

    def __init__(self, request: web.Request, caller: Caller, body: bytes) -> None:
        self._request = request
        self._caller = caller
        self._body = body
        self._canvases = request.app[CANVASES].submission
        self._context = carried(request)

    async def ids(self) -> list[str]:
        root = await _parse(self._request, self._body)
        self._checked = await self._canvases.check(root, self._caller)
        self._plan = self._canvases.plan(self._checked, self._context)
        return self._plan.ids

    async def publish(self, claim: Claim) -> Answered:
        if claim.task_ids != self._plan.ids:
            self._plan = self._canvases.plan(self._checked, self._context, claim.task_ids)
        return Answered(msgspec.json.encode(await self.publish_as(claim.owner)))

    async def publish_as(self, nonce: str | None) -> CanvasReceipt:
        """Publish it; return the receipt."""
        await self._canvases.publish(self._plan, nonce)
        return receipt(self._plan)


def receipt(plan: CanvasPlan) -> CanvasReceipt:
    """Return the receipt of a published canvas."""
    (result_id, _), members = plan.result
    links = CanvasLinks(f"/v1/tasks/{result_id}", f"/v1/tasks/{result_id}/stream")
    if members is not None:
        links = CanvasLinks(f"/v1/groups/{result_id}")
    issued = claims(result_id)
    tracked = members is not None or (issued is not None and issued.tracked)
    return CanvasReceipt(
        id=result_id,
        kind="task" if members is None else "group",
        state="PENDING" if tracked else None,
        tracked=tracked,
        ids=[one for one in plan.ids if one not in plan.groups],
        groups=list(plan.groups),
        canvas=_tree(plan.root),
        accepted_at=issued_at(result_id),
        links=links,
    )


def _tree(node: Node) -> dict[str, Any]:
    """The ids in the shape of the request."""
    match node:
        case ChainNode():
            return {"chain": [_tree(step) for step in node.steps]}
        case GroupNode():
            return {"group": [_tree(member) for member in node.members], "id": node.id}
        case ChordNode():
            header = [_tree(member) for member in node.header.members]
            body = _tree(node.body)
            return {"chord": {"header": header, "body": body, "id": node.header.id}}
    tree: dict[str, Any] = {"id": node.id, "task": node.request.task}
    if node.links:
        tree["link"] = [_tree(link) for link in node.links]
    if node.errbacks:
        tree["link_error"] = [_tree(link) for link in node.errbacks]
    return tree
