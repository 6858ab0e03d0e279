"""POST /v1/canvas: many tasks that belong together; GET /v1/groups/{id}: what became of a group."""

import asyncio
from typing import Any

import orjson
from aiohttp import web

from gateway.access import idempotency
from gateway.access.auth import Caller, require
from gateway.access.idempotency import Claim
from gateway.access.once import Answered, once
from gateway.access.task_id import claims
from gateway.access.work import work_of
from gateway.api.parts import ACCESS, CANVASES, INTAKE, WATCHING
from gateway.api.queries import wait_seconds
from gateway.canvas.canvas_request import (
    ChainNode,
    ChordNode,
    GroupNode,
    Node,
    TaskNode,
    parse_canvas,
    walk,
)
from gateway.canvas.canvas_submission import CanvasPlan
from gateway.canvas.groups import issued_ids
from gateway.errors import Problem
from gateway.http.body import CHUNK_BYTES
from gateway.http.media_types import check_json
from gateway.http.trace_context import traceparent
from gateway.http.traits import IDEMPOTENT
from gateway.redis.faults import RedisAwayError
from gateway.timestamps import issued_at

MAX_CANVAS_BYTES = 8 * 1024 * 1024
"""Expanded size of a canvas."""
_JSON = {"Content-Type": "application/json; charset=utf-8"}


def routes() -> list[web.RouteDef]:
    """The routes of this noun."""
    return [
        web.post("/v1/canvas", submit, traits=(IDEMPOTENT,)),
        web.get("/v1/groups/{id}", show_group),
    ]


async def submit(request: web.Request) -> web.StreamResponse:
    """Publish a canvas; 202 when RabbitMQ confirmed every message that begins it."""
    caller = require(request, "submit")
    check_json(request)
    wait_s = wait_seconds(request, queued="no") if request.query_string else None
    key = idempotency.key_of(request)
    body = await request.app[INTAKE].bodies.read(request, MAX_CANVAS_BYTES)
    attempt = _Attempt(request, caller, body)
    if key is not None:
        use = idempotency.key_use(request, caller, key, body)
        answered = await once(request.app[ACCESS].idempotency, use, attempt)
        answer, replayed = orjson.loads(answered.body), answered.replayed
    else:
        await attempt.ids()
        answer, replayed = await attempt.publish_as(None), False
    if wait_s and answer["tracked"] and not replayed:
        ended = await _ended(request, caller, answer, wait_s)
        if ended is not None:
            return web.Response(body=ended, headers=_JSON)
    response = web.Response(status=202, body=orjson.dumps(answer), headers=_JSON)
    response.headers["Location"] = answer["links"]["self"]
    if replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return response


async def show_group(request: web.Request) -> web.StreamResponse:
    """States and results of a group; `?wait=` waits for the end of all."""
    caller = require(request, "read")
    wait_s = wait_seconds(request)
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
    told = await groups.states(members)
    return web.Response(body=told.to_json(group_id, admin=caller.admin), headers=_JSON)


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
    request: web.Request, caller: Caller, answer: dict[str, Any], wait_s: float
) -> bytes | None:
    """The final result as JSON, if it is there in time."""
    result_id = str(answer["id"])
    if answer["kind"] == "task":
        state = (await request.app[WATCHING].watch.ended([result_id], wait_s)).get(result_id)
        return None if state is None else state.to_json(admin=caller.admin)
    groups = request.app[CANVASES].groups
    try:
        members = await groups.members(result_id)
        if members is None:
            return None
        await _until_ended(request, members, wait_s)
        told = await groups.states(members)
    except RedisAwayError:
        return None
    return told.to_json(result_id, admin=caller.admin) if told.ready else None


class _Attempt:
    """A canvas, under an idempotency key or none: an `Attempt` of `once`."""

    def __init__(self, request: web.Request, caller: Caller, body: bytes) -> None:
        self._request = request
        self._caller = caller
        self._body = body
        self._canvases = request.app[CANVASES].submission
        self._context = traceparent(request)

    async def ids(self) -> list[str]:
        root = await _parse(self._request, self._body)
        self._checked = await self._canvases.check(root, self._caller)
        self._plan = self._canvases.plan(self._checked, self._context)
        return self._plan.ids

    async def publish(self, claim: Claim) -> Answered:
        if claim.task_ids != self._plan.ids:
            self._plan = self._canvases.plan(self._checked, self._context, claim.task_ids)
        return Answered(orjson.dumps(await self.publish_as(claim.owner)))

    async def publish_as(self, nonce: str | None) -> dict[str, Any]:
        """Publish it; return the receipt."""
        await self._canvases.publish(self._plan, nonce)
        return receipt(self._plan)


def receipt(plan: CanvasPlan) -> dict[str, Any]:
    """The receipt of a canvas as a JSON object."""
    (result_id, _), members = plan.result
    links = {"self": f"/v1/tasks/{result_id}", "stream": f"/v1/tasks/{result_id}/stream"}
    if members is not None:
        links = {"self": f"/v1/groups/{result_id}"}
    issued = claims(result_id)
    tracked = members is not None or (issued is not None and issued.tracked)
    answer: dict[str, Any] = {"id": result_id, "kind": "task" if members is None else "group"}
    if tracked:
        answer["state"] = "PENDING"
    return {
        **answer,
        "tracked": tracked,
        "ids": [one for one in plan.ids if one not in plan.groups],
        "groups": list(plan.groups),
        "canvas": _tree(plan.root),
        "accepted_at": issued_at(result_id),
        "links": links,
    }


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
