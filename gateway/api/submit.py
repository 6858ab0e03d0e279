"""POST /v1/tasks: one task in, one receipt out."""

from functools import partial
from typing import Literal

import msgspec
from aiohttp import web

from gateway.access import idempotency
from gateway.access.auth import Caller, require
from gateway.access.carried import carried
from gateway.access.copies import Copy
from gateway.access.idempotency import Claim
from gateway.access.once import Answered, once
from gateway.api.operation import SUBMITTING as SUBMITTING_REFUSALS
from gateway.api.operation import Content, Operation, answer
from gateway.api.parts import ACCESS, INTAKE, SUBMITTING, WATCHING
from gateway.api.queries import WAIT
from gateway.http.body import CHUNK_BYTES
from gateway.http.media_types import check_json
from gateway.http.receipt import ReceiptResponse
from gateway.states.state import TaskState
from gateway.submitting.plan import TaskMessage
from gateway.submitting.task_request import TaskRequest, parse_in_turns
from gateway.timestamps import Time, issued_at


class TaskLinks(msgspec.Struct):
    """Where to look next."""

    self: str
    stream: str


class Receipt(msgspec.Struct, kw_only=True, omit_defaults=True):
    """RabbitMQ confirmed the message of a task, and at least one queue took it."""

    id: str
    task: str
    state: Literal["PENDING"] | None = None
    """Absent where the task is not tracked."""
    queues: tuple[str, ...]
    """Every queue that took it."""
    tracked: bool
    """Whether a single result can exist."""
    accepted_at: Time
    links: TaskLinks


_encode = msgspec.json.Encoder().encode
_decode_receipt = msgspec.json.Decoder(Receipt).decode


def receipt(message: TaskMessage) -> Receipt:
    """Return the receipt of a published task."""
    task_id = message.task_id
    return Receipt(
        id=task_id,
        task=message.task,
        state="PENDING" if message.tracked else None,
        queues=message.queues,
        tracked=message.tracked,
        accepted_at=issued_at(task_id),
        links=TaskLinks(f"/v1/tasks/{task_id}", f"/v1/tasks/{task_id}/stream"),
    )


TASK_ID = "019b0e2c-4d5e-7f10-8a1b-2c3d4e5f6071-00a1b2c3d4e5"
TASK_EXAMPLE = {
    "task": "demo.add",
    "args": [1, 2],
    "options": {"countdown": 5, "headers": {"source": "docs"}},
}
RECEIPT_EXAMPLE = {
    "id": TASK_ID,
    "task": "demo.add",
    "state": "PENDING",
    "queues": ["high_priority"],
    "tracked": True,
    "accepted_at": "2026-01-31T12:00:00.000Z",
    "links": {"self": f"/v1/tasks/{TASK_ID}", "stream": f"/v1/tasks/{TASK_ID}/stream"},
}
STATE_EXAMPLE = {
    "id": TASK_ID,
    "task": "demo.add",
    "state": "SUCCESS",
    "accepted_at": "2026-01-31T12:00:00.000Z",
    "started_at": "2026-01-31T12:00:05.012Z",
    "finished_at": "2026-01-31T12:00:05.020Z",
    "retries": 0,
    "worker": "celery@w1",
    "result": 3,
}

SUBMIT = Operation(
    summary="Submit one task; 202 once RabbitMQ confirmed its message.",
    tag="Tasks",
    scope="submit",
    body=(Content(TaskRequest, TASK_EXAMPLE),),
    query=(WAIT,),
    answers={
        200: answer("It ended within `wait`.", Content(TaskState, STATE_EXAMPLE)),
        202: answer("Accepted: a receipt.", Content(Receipt, RECEIPT_EXAMPLE)),
    },
    refusals=SUBMITTING_REFUSALS,
    idempotent=True,
)


def routes() -> list[web.RouteDef]:
    """Return the routes of this noun."""
    return [web.post("/v1/tasks", submit, operation=SUBMIT)]


async def submit(request: web.Request) -> web.StreamResponse:
    """Publish one task; 202 is a receipt that RabbitMQ confirmed the message."""
    caller = require(request, "submit")
    check_json(request)
    wait_s = WAIT.of(request, queued="no") if request.query_string else None
    key = idempotency.key_of(request)
    app = request.app
    submitting = app[SUBMITTING]
    body = await app[INTAKE].bodies.read(request, submitting.max_task_bytes)
    context = carried(request)
    if key is not None:
        answered = await once(
            request.app[ACCESS].idempotency,
            idempotency.key_use(request, caller, key, body),
            _Keyed(request, caller, body),
        )
        told, text, replayed = _decode_receipt(answered.body), answered.body, answered.replayed
    else:
        task = body if len(body) <= CHUNK_BYTES else await _parse(request, body)
        message = await submitting.submission.submit(task, caller, context)
        told = receipt(message)
        text, replayed = _encode(told), False
    if wait_s and told.tracked and not replayed:
        state = await _ended(request, told.id, wait_s, admin=caller.admin)
        if state is not None:
            return web.Response(body=state, content_type="application/json")
    response = ReceiptResponse(text, told.links.self)
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
        return Answered(_encode(receipt(message)))

    async def _prepare(self, copy: Copy | None = None) -> TaskMessage:
        prepare = partial(
            self._submission.prepare,
            self._task,
            self._caller,
            carried(self._request),
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
