"""What takes longer than a request: begun once for each idempotency key, and how far each is."""

import uuid
from collections.abc import Awaitable, Callable
from typing import Final, Literal

import msgspec
from aiohttp import web

from gateway.access import idempotency
from gateway.access.auth import Caller, require
from gateway.access.idempotency import Claim
from gateway.access.once import Answered, once
from gateway.api.audited import unchanged
from gateway.api.fields import Count
from gateway.api.operation import Content, Operation, answer
from gateway.api.parts import ACCESS, OPERATING
from gateway.api.queries import whole_number
from gateway.operating.operations import LongOperation, UnknownOperationError
from gateway.timestamps import Time, rfc3339


class OperationState(msgspec.Struct, kw_only=True, omit_defaults=True):
    """How far an operation is."""

    operation: str
    """Its id."""
    kind: str
    """`purge`, `retry`, `revoke`."""
    subject: str
    """What it is done to: a queue, ids, filters of tasks."""
    since: Time
    done: Count
    failed: Count
    of: Count
    """How many there were when it began; of a purged queue workers may take some."""
    state: Literal["running", "done"]
    refusals: dict[str, Count] | None = None
    """Why those failed: how many by code; absent when none did, or it is not known."""


class OperationList(msgspec.Struct):
    """Long operations, the newest first."""

    operations: list[OperationState]


_JSON: Final = {"Content-Type": "application/json"}
OPERATION_EXAMPLE = {
    "operation": "6f1f7f0e-6f0e-4c63-8f0a-2f6f3f0d7a11",
    "kind": "purge",
    "subject": "default",
    "since": "2026-01-31T12:00:00.000Z",
    "done": 4200,
    "failed": 0,
    "of": 10000,
    "state": "running",
}
SHOW = Operation(
    summary="How far an operation is, whichever gateway does it; known for 7 days after its end.",
    tag="Queues",
    scope="read",
    answers={200: answer("How far.", Content(OperationState, OPERATION_EXAMPLE))},
    refusals=("unknown-operation", "state-unavailable"),
)


_MOST: Final = 500
LIMIT = whole_number("limit", "Operations at most (50).", default=50, at_most=_MOST)
LIST = Operation(
    summary="The long operations of the last 7 days, the newest first.",
    tag="Queues",
    scope="read",
    query=(LIMIT,),
    answers={
        200: answer("Each of them.", Content(OperationList, {"operations": [OPERATION_EXAMPLE]}))
    },
    refusals=("invalid-request", "state-unavailable"),
)


def routes() -> list[web.RouteDef]:
    """Return the routes of this noun."""
    return [
        web.get("/v1/operations", show_all, operation=LIST),
        web.get("/v1/operations/{id}", show, operation=SHOW),
    ]


async def show(request: web.Request) -> web.Response:
    """How far an operation is; those of other tenants are for `admin`."""
    caller = require(request, "read")
    operation_id = request.match_info["id"]
    found = await request.app[OPERATING].operations.find(operation_id)
    if not caller.admin and found.tenant != caller.tenant:
        raise UnknownOperationError(operation_id)
    return web.Response(body=msgspec.json.encode(_state(found)), headers=_JSON)


async def show_all(request: web.Request) -> web.Response:
    """Operations of the caller's tenant; `admin` sees all."""
    caller = require(request, "read")
    most = LIMIT.of(request)
    tenant = None if caller.admin else caller.tenant
    found = await request.app[OPERATING].operations.newest(most, tenant)
    body = OperationList([_state(one) for one in found])
    return web.Response(body=msgspec.json.encode(body), headers=_JSON)


async def begun_once(
    request: web.Request,
    caller: Caller,
    key: str | None,
    body: bytes,
    begin: Callable[[str], Awaitable[bytes]],
) -> web.Response:
    """Begin an operation; a request that repeats an idempotency key is answered as the first.

    Args:
        request: Asks for it.
        caller: Whose request it is.
        key: Its idempotency key, from `key_of`.
        body: The expanded body.
        begin: Begins it under an id, and returns the answer, which has it as `operation`; under
            the id of an earlier try it begins nothing twice.

    Raises:
        Problem: What `begin` raises; of the key as `once`.
    """
    if key is None:
        answered = Answered(await begin(str(uuid.uuid4())))
    else:
        use = idempotency.key_use(request, caller, key, body)
        answered = await once(request.app[ACCESS].idempotency, use, _Attempt(begin))
    headers = {**_JSON, "Location": f"/v1/operations/{_decode(answered.body).operation}"}
    if answered.replayed:
        unchanged(request)
        headers["Idempotency-Replayed"] = "true"
    return web.Response(status=202, body=answered.body, headers=headers)


class _Attempt:
    """An operation under an idempotency key: an `Attempt` of `once`."""

    def __init__(self, begin: Callable[[str], Awaitable[bytes]]) -> None:
        self._begin = begin

    async def ids(self) -> list[str]:
        return [str(uuid.uuid4())]

    async def publish(self, claim: Claim) -> Answered:
        [operation_id] = claim.task_ids
        return Answered(await self._begin(operation_id))


class _Begun(msgspec.Struct):
    operation: str


_decode = msgspec.json.Decoder(_Begun).decode


def _state(found: LongOperation) -> OperationState:
    return OperationState(
        operation=found.id,
        kind=found.kind,
        subject=found.subject,
        since=rfc3339(found.since),
        done=found.done,
        failed=found.failed,
        of=found.of,
        state=found.state,
        refusals=dict(found.refusals) or None,
    )
