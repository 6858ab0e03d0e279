"""GET /v1/operations/{id}: how far an operation is that takes longer than a request."""

from typing import Literal

import msgspec
from aiohttp import web

from gateway.access.auth import require
from gateway.api.fields import Count
from gateway.api.operation import Content, Operation, answer
from gateway.api.parts import OPERATING
from gateway.errors import Problem
from gateway.timestamps import Time, rfc3339


class OperationState(msgspec.Struct, kw_only=True):
    """How far an operation is."""

    operation: str
    """Its id."""
    kind: str
    """`purge`."""
    subject: str
    """What it is done to: a queue."""
    since: Time
    done: Count
    failed: Count
    of: Count
    """How many there were when it began; workers may have taken some of them since."""
    state: Literal["running", "done"]


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
    summary="How far a long operation is, whichever gateway does it; known for 7 days.",
    tag="Queues",
    scope="read",
    answers={200: answer("How far.", Content(OperationState, OPERATION_EXAMPLE))},
    refusals=("unknown-operation", "state-unavailable"),
)


def routes() -> list[web.RouteDef]:
    """Return the routes of this noun."""
    return [web.get("/v1/operations/{id}", show, operation=SHOW)]


async def show(request: web.Request) -> web.Response:
    """How far an operation is; those of other tenants are for `admin`."""
    caller = require(request, "read")
    operation_id = request.match_info["id"]
    found = await request.app[OPERATING].operations.find(operation_id)
    if not caller.admin and found.tenant != caller.tenant:
        raise Problem("unknown-operation", f"there is no operation {operation_id!r}")
    body = OperationState(
        operation=found.id,
        kind=found.kind,
        subject=found.subject,
        since=rfc3339(found.since),
        done=found.done,
        failed=found.failed,
        of=found.of,
        state=found.state,
    )
    return web.Response(
        body=msgspec.json.encode(body), headers={"Content-Type": "application/json"}
    )
