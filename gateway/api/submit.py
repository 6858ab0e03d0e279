"""POST /v1/tasks: one task in, one receipt out."""

import re
from functools import partial
from typing import Any

import orjson
from aiohttp import web

from gateway.access import idempotency
from gateway.access.auth import Caller, require
from gateway.api.parts import ACCESS, INTAKE, SUBMITTING, WATCHING
from gateway.api.queries import wait_seconds
from gateway.errors import Problem
from gateway.http.body import CHUNK_BYTES
from gateway.http.media_types import JSON
from gateway.http.receipt import Receipt
from gateway.http.traits import IDEMPOTENT
from gateway.submitting.absent_tasks import SeemsAbsentError
from gateway.submitting.prepared import Prepared
from gateway.submitting.task_request import TaskRequest, parse_in_turns
from gateway.timestamps import issued_at

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def routes() -> list[web.RouteDef]:
    """The routes of this noun."""
    return [web.post("/v1/tasks", submit, traits=(IDEMPOTENT,))]


async def submit(request: web.Request) -> web.StreamResponse:
    """Publish one task; 202 is a receipt that RabbitMQ confirmed the message."""
    caller = require(request, "submit")
    check_json(request)
    wait_s = wait_seconds(request, queued="no") if request.query_string else None
    key = idempotency.key_of(request)
    submitting = request.app[SUBMITTING]
    body = await request.app[INTAKE].bodies.read(request, submitting.max_task_bytes)
    if key is not None:
        answer, replayed = await _submit_once(request, caller, key, body)
    else:
        submission = submitting.submission
        context = traceparent(request)
        task = body if len(body) <= CHUNK_BYTES else await _parse(request, body)
        try:
            prepared = submission.prepare(task, caller, context)
        except SeemsAbsentError as seems:
            prepared = await submission.absent.again(
                seems, partial(submission.prepare, task, caller, context)
            )
        await submission.publish(prepared)
        answer, replayed = receipt(prepared), False
    if wait_s and answer["tracked"] and not replayed:
        state = await _ended(request, str(answer["id"]), wait_s, admin=caller.admin)
        if state is not None:
            return web.Response(body=state, content_type="application/json")
    response = Receipt(orjson.dumps(answer), f"/v1/tasks/{answer['id']}")
    if replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return response


async def _submit_once(
    request: web.Request, caller: Caller, key: str, body: bytes
) -> tuple[dict[str, Any], bool]:
    """Publish under an idempotency key: the receipt, and whether it was told before."""
    keys, submission = request.app[ACCESS].idempotency, request.app[SUBMITTING].submission
    mark = idempotency.fingerprint(request, body)
    answered = await keys.replay(caller, key, mark)
    if answered is not None:
        return orjson.loads(answered), True
    task = await _parse(request, body)
    context = traceparent(request)
    prepared = await submission.surely(lambda: submission.prepare_request(task, caller, context))
    claim = await keys.claim(caller, key, mark, [prepared.task_id])
    if claim.answer is not None:
        return orjson.loads(claim.answer), True
    [task_id] = claim.task_ids
    try:
        prepared = await submission.surely(
            lambda: submission.prepare_request(
                task, caller, context, task_id=task_id, copy=claim.owner
            )
        )
        # Unique among the messages in flight, of the id's length.
        await submission.publish(prepared, message_id=task_id[: -len(claim.owner)] + claim.owner)
    except Problem as problem:
        await keys.failed(claim, problem)
        raise
    answer = receipt(prepared)
    await keys.done(claim, orjson.dumps(answer))
    return answer, False


async def _parse(request: web.Request, body: bytes) -> TaskRequest:
    return await parse_in_turns(body, request.app[INTAKE].turns.of(request))


async def _ended(request: web.Request, task_id: str, wait_s: float, *, admin: bool) -> bytes | None:
    """The final state as JSON, if the task ends in time."""
    ended = await request.app[WATCHING].watch.ended([task_id], wait_s)
    state = ended.get(task_id)
    return None if state is None else state.to_json(admin=admin)


def check_json(request: web.Request) -> None:
    """Let JSON through, and what has neither a body nor a type.

    Raises:
        Problem: `unsupported-media-type` (queued: no).
    """
    kind = request.headers.get("Content-Type")
    if kind == JSON:
        return  # the usual one, without aiohttp's parsing of it
    if request.content_type != JSON and (kind is not None or request.body_exists):
        raise Problem(
            "unsupported-media-type",
            f"{request.content_type!r} is not application/json",
            queued="no",
        )


def traceparent(request: web.Request) -> str | None:
    """The W3C trace context of the request, if it has a sound one."""
    value = request.headers.get("traceparent")
    return value if value is not None and _TRACEPARENT.fullmatch(value) else None


def receipt(prepared: Prepared) -> dict[str, Any]:
    """The receipt of one task as a JSON object."""
    task_id = prepared.task_id
    body: dict[str, Any] = {"id": task_id, "task": prepared.task}
    if prepared.tracked:
        body["state"] = "PENDING"
    body["queues"] = prepared.queues
    body["tracked"] = prepared.tracked
    body["accepted_at"] = issued_at(task_id)
    body["links"] = {"self": f"/v1/tasks/{task_id}", "stream": f"/v1/tasks/{task_id}/stream"}
    return body
