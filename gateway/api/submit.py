"""POST /v1/tasks: one task in, one receipt out."""

from functools import partial
from typing import Any

import orjson
from aiohttp import web

from gateway.access import idempotency
from gateway.access.auth import Caller, require
from gateway.access.copies import Copy
from gateway.access.idempotency import Claim
from gateway.access.once import Answered, once
from gateway.api.parts import ACCESS, INTAKE, SUBMITTING, WATCHING
from gateway.api.queries import wait_seconds
from gateway.http.body import CHUNK_BYTES
from gateway.http.media_types import check_json
from gateway.http.receipt import Receipt
from gateway.http.trace_context import traceparent
from gateway.http.traits import IDEMPOTENT
from gateway.submitting.plan import TaskMessage
from gateway.submitting.task_request import TaskRequest, parse_in_turns
from gateway.timestamps import issued_at


def routes() -> list[web.RouteDef]:
    """The routes of this noun."""
    return [web.post("/v1/tasks", submit, traits=(IDEMPOTENT,))]


async def submit(request: web.Request) -> web.StreamResponse:
    """Publish one task; 202 is a receipt that RabbitMQ confirmed the message."""
    caller = require(request, "submit")
    check_json(request)
    wait_s = wait_seconds(request, queued="no") if request.query_string else None
    key = idempotency.key_of(request)
    app = request.app
    submitting = app[SUBMITTING]
    body = await app[INTAKE].bodies.read(request, submitting.max_task_bytes)
    context = traceparent(request)
    if key is not None:
        answered = await once(
            request.app[ACCESS].idempotency,
            idempotency.key_use(request, caller, key, body),
            _Keyed(request, caller, body),
        )
        answer, replayed = orjson.loads(answered.body), answered.replayed
    else:
        task = body if len(body) <= CHUNK_BYTES else await _parse(request, body)
        message = await submitting.submission.submit(task, caller, context)
        answer, replayed = receipt(message), False
    if wait_s and answer["tracked"] and not replayed:
        state = await _ended(request, str(answer["id"]), wait_s, admin=caller.admin)
        if state is not None:
            return web.Response(body=state, content_type="application/json")
    response = Receipt(orjson.dumps(answer), f"/v1/tasks/{answer['id']}")
    if replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return response


class _Keyed:
    """A submit under an idempotency key: an `Attempt`."""

    def __init__(self, request: web.Request, caller: Caller, body: bytes) -> None:
        self._request = request
        self._caller = caller
        self._body = body
        self._submission = request.app[SUBMITTING].submission

    async def ids(self) -> list[str]:
        self._task = await _parse(self._request, self._body)
        return [(await self._prepare()).task_id]

    async def publish(self, claim: Claim) -> Answered:
        [copy] = claim.copies
        message = await self._prepare(copy)
        await self._submission.publish(message)
        return Answered(orjson.dumps(receipt(message)))

    async def _prepare(self, copy: Copy | None = None) -> TaskMessage:
        prepare = partial(
            self._submission.prepare,
            self._task,
            self._caller,
            traceparent(self._request),
            copy=copy,
        )
        return await self._submission.absent.surely(prepare)


async def _parse(request: web.Request, body: bytes) -> TaskRequest:
    return await parse_in_turns(body, request.app[INTAKE].turns.of(request))


async def _ended(request: web.Request, task_id: str, wait_s: float, *, admin: bool) -> bytes | None:
    """The final state as JSON, if the task ends in time."""
    ended = await request.app[WATCHING].watch.ended([task_id], wait_s)
    state = ended.get(task_id)
    return None if state is None else state.to_json(admin=admin)


def receipt(message: TaskMessage) -> dict[str, Any]:
    """The receipt of one task as a JSON object."""
    task_id = message.task_id
    body: dict[str, Any] = {"id": task_id, "task": message.task}
    if message.tracked:
        body["state"] = "PENDING"
    body["queues"] = message.queues
    body["tracked"] = message.tracked
    body["accepted_at"] = issued_at(task_id)
    body["links"] = {"self": f"/v1/tasks/{task_id}", "stream": f"/v1/tasks/{task_id}/stream"}
    return body
