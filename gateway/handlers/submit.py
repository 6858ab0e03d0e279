"""POST /v1/tasks: one task in, one receipt out."""

import re

import orjson
from aiohttp import web

from gateway.auth import require
from gateway.body import read_body
from gateway.errors import Problem
from gateway.handlers.queries import wait_seconds
from gateway.parts import CONFIG, SUBMISSION, WATCH
from gateway.submission import Prepared
from gateway.timestamps import rfc3339_now

_JSON_TYPES = frozenset({"application/json", "application/octet-stream"})
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def routes() -> list[web.RouteDef]:
    """The routes of this noun."""
    return [web.post("/v1/tasks", submit)]


async def submit(request: web.Request) -> web.StreamResponse:
    """Publish one task; 202 is a receipt that RabbitMQ confirmed the message."""
    caller = require(request, "submit")
    check_json(request)
    wait_s = wait_seconds(request, queued="no") if request.query_string else None
    body = await read_body(request, request.app[CONFIG].max_task_bytes)
    submission = request.app[SUBMISSION]
    prepared = submission.prepare(body, caller, traceparent(request))
    await submission.publish(prepared)
    accepted_at = rfc3339_now()
    if wait_s and prepared.tracked:
        ended = await request.app[WATCH].ended([prepared.task_id], wait_s)
        state = ended.get(prepared.task_id)
        if state is not None:
            return web.Response(
                body=orjson.dumps(state.to_json(admin=caller.admin)),
                content_type="application/json",
            )
    return accepted(prepared, accepted_at)


def check_json(request: web.Request) -> None:
    """Let JSON through; octets without a type count as JSON.

    Raises:
        Problem: `unsupported-media-type` (queued: no).
    """
    if request.content_type not in _JSON_TYPES:
        raise Problem(
            "unsupported-media-type",
            f"{request.content_type!r} is not application/json",
            queued="no",
        )


def traceparent(request: web.Request) -> str | None:
    """The W3C trace context of the request, if it has a sound one."""
    value = request.headers.get("traceparent")
    return value if value is not None and _TRACEPARENT.fullmatch(value) else None


def accepted(prepared: Prepared, accepted_at: str) -> web.Response:
    """The receipt: 202 with the links to watch."""
    return web.Response(
        status=202,
        body=orjson.dumps(receipt(prepared, accepted_at)),
        headers={
            "Content-Type": "application/json; charset=utf-8",
            "Location": f"/v1/tasks/{prepared.task_id}",
        },
    )


def receipt(prepared: Prepared, accepted_at: str) -> dict[str, object]:
    """The receipt of one task as a JSON object."""
    task_id = prepared.task_id
    body: dict[str, object] = {"id": task_id, "task": prepared.task}
    if prepared.tracked:
        body["state"] = "PENDING"
    body["queues"] = prepared.queues
    body["tracked"] = prepared.tracked
    body["accepted_at"] = accepted_at
    body["links"] = {"self": f"/v1/tasks/{task_id}", "stream": f"/v1/tasks/{task_id}/stream"}
    return body


