"""POST /v1/tasks/bulk: many tasks in, one outcome each."""

from collections.abc import Callable
from typing import Final

import orjson
from aiohttp import web

from gateway.access.auth import Caller, require
from gateway.access.work import work_of
from gateway.body import iter_body, too_large
from gateway.errors import Problem, invalid_request
from gateway.handlers.submit import traceparent
from gateway.ingest.json_array import ArraySplitter, MalformedArrayError, is_json
from gateway.ingest.ndjson import LineSplitter
from gateway.media_types import JSON
from gateway.middlewares import REQUEST_ID
from gateway.parts import CONFIG, HELD, PUBLISHER, SUBMISSION
from gateway.publishing.bulk import Bulk, Detail
from gateway.publishing.bulk_answer import OutcomeStream

_DETAILS: Final[dict[str, Detail]] = {"errors": "errors", "all": "all", "none": "none"}
_OMIT_AFTER_S: Final = 5.0
"""How long a full buffer of errors waits for a client that sends and does not read."""


def routes() -> list[web.RouteDef]:
    """The routes of this noun."""
    return [web.post("/v1/tasks/bulk", bulk)]


async def bulk(request: web.Request) -> web.StreamResponse:
    """Publish many tasks; each is accepted or refused by itself."""
    caller = require(request, "submit")
    for name in request.query:
        if name != "outcomes":
            raise invalid_request(f"?{name}", "Unknown parameter", queued="no")
    given = request.query.get("outcomes")
    if given is not None and given not in _DETAILS:
        raise invalid_request("?outcomes", "Expected errors, all or none", queued="no")
    match request.content_type if request.body_exists else JSON:
        case "application/x-ndjson":
            return await _stream(request, caller, _DETAILS[given or "errors"])
        case "application/json":
            return await _array(request, caller, _DETAILS[given or "all"])
    raise Problem(
        "unsupported-media-type",
        f"{request.content_type!r} is neither application/json nor application/x-ndjson",
        queued="no",
    )


async def _stream(request: web.Request, caller: Caller, detail: Detail) -> web.StreamResponse:
    config = request.app[CONFIG]
    response = web.StreamResponse(
        status=207,
        headers={"Content-Type": "application/x-ndjson", "X-Request-Id": request[REQUEST_ID]},
    )
    eager = detail == "all"
    outcomes = OutcomeStream(
        request, response, eager=eager, stall_s=config.body_timeout_s if eager else _OMIT_AFTER_S
    )
    tasks = _bulk(request, caller, detail, outcomes.tell, slowed=True)
    splitter = LineSplitter(config.max_task_bytes)
    try:
        try:
            async for chunk in iter_body(request):
                await tasks.take(splitter.feed(chunk))
                await outcomes.keep_up()
            await tasks.take(splitter.end())
        except Problem as problem:
            # The body itself is bad: told as an answer of its own while nothing else was.
            if not tasks.line and not outcomes.started:
                raise
            tasks.refuse(problem)
        await tasks.settle()
        summary = tasks.summary()
        if outcomes.omitted:
            summary["omitted"] = outcomes.omitted
        await outcomes.finish(orjson.dumps({"summary": summary}))
    finally:
        outcomes.close()
    return response


async def _array(request: web.Request, caller: Caller, detail: Detail) -> web.StreamResponse:
    """Publish an array, once all of it has come and is known to be one."""
    config = request.app[CONFIG]
    budget, tenant = request.app[HELD], caller.tenant
    held: list[bytes] = []
    held_bytes = 0
    try:
        proof = ArraySplitter(config.max_task_bytes)
        async for chunk in iter_body(request, whole=True):
            if held_bytes + len(chunk) > config.max_array_bytes:
                raise too_large(config.max_array_bytes)
            budget.hold(tenant, len(chunk))
            held_bytes += len(chunk)
            held.append(chunk)
            if not all(map(is_json, proof.feed(chunk))):
                raise MalformedArrayError("an element is not valid JSON")
        proof.end()
        told: list[bytes] = []
        tasks = _bulk(request, caller, detail, told.append, slowed=False)
        splitter = ArraySplitter(config.max_task_bytes)
        for place, chunk in enumerate(held):
            await tasks.take(splitter.feed(chunk))
            held[place] = b""
        await tasks.settle()
    except MalformedArrayError as error:
        raise Problem("malformed-json", f"not a JSON array: {error}", queued="no") from None
    finally:
        budget.hold(tenant, -held_bytes)
    return web.Response(
        status=207 if tasks.rejected else 202,
        body=b"[%b]" % b",".join(told),
        headers={"Content-Type": "application/json; charset=utf-8"},
    )


def _bulk(
    request: web.Request,
    caller: Caller,
    detail: Detail,
    tell: Callable[[bytes], None],
    *,
    slowed: bool,
) -> Bulk:
    config = request.app[CONFIG]
    return Bulk(
        request.app[SUBMISSION],
        request.app[PUBLISHER],
        caller,
        traceparent(request),
        work=work_of(request),
        slowed=slowed,
        max_task_bytes=config.max_task_bytes,
        patience_s=config.confirm_timeout_s,
        detail=detail,
        tell=tell,
    )
