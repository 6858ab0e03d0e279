"""POST /v1/tasks/bulk: many tasks in, one outcome each."""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec
import orjson
from aiohttp import web

from gateway.access.auth import Caller, require
from gateway.access.carried import carried
from gateway.access.work import Pace, work_of
from gateway.api.bulk_answer import OutcomeStream
from gateway.api.description.problem import Fault
from gateway.api.fields import Count
from gateway.api.operation import PUBLISHING, Content, Operation, answer
from gateway.api.parts import CONFIG, INTAKE, SUBMITTING
from gateway.api.queries import choice
from gateway.api.submit import TASK_EXAMPLE, TASK_ID
from gateway.decoding.json_array import ArraySplitter, is_json
from gateway.decoding.ndjson import LineSplitter
from gateway.decoding.splitter import MalformedBodyError, Part
from gateway.decoding.steps import Pause
from gateway.errors import Problem, Queued, malformed_json
from gateway.http.body import CHUNK_BYTES, too_large
from gateway.http.held_body import HeldBody
from gateway.http.media_types import JSON, NDJSON, body_type
from gateway.http.problems import REQUEST_ID
from gateway.submitting.bulk import Bulk, BulkTerms
from gateway.submitting.bulk_outcomes import BulkOutcomes, Listing
from gateway.submitting.task_request import TaskRequest

_OMIT_AFTER_S: Final = 5.0
"""How long a full buffer of errors waits for a client that sends and does not read."""


MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024
"""Outcomes of an array; what is behind them is refused."""


class Outcome(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What became of one task of many: written by `BulkOutcomes`."""

    line: Count
    """Which, from 1; empty lines count."""
    status: int
    """202, or the status that a submit of this task alone would have got."""
    id: str | None = None
    """Where it is, or may be, queued."""
    code: str | None = None
    detail: str | None = None
    queued: Queued | None = None
    errors: list[Fault] | None = None
    near: list[str] | None = None
    quota: str | None = None


_LISTINGS: Final[dict[str, Listing | None]] = {"errors": "errors", "all": "all", "none": "none"}
OUTCOMES: Final = choice(
    "outcomes",
    "Which outcomes the answer lists; by default all of an array, the errors of a stream.",
    _LISTINGS,
    default=None,
    expected="errors, all or none",
)
_EXAMPLES: Final = [{"line": 1, "status": 202, "id": TASK_ID}]
_REFUSED: Final = {
    "line": 2,
    "status": 404,
    "code": "unknown-task",
    "detail": "no route of the topology takes 'reports.bild'",
    "queued": "no",
}
_NDJSON: Final = "application/x-ndjson"

BULK = Operation(
    summary="Submit many tasks; each is accepted or refused by itself.",
    tag="Tasks",
    scope="submit",
    body=(
        Content(list[TaskRequest], [TASK_EXAMPLE]),
        Content(str, '{"task": "demo.add", "args": [1, 2]}\n{"task": "demo.add"}\n', _NDJSON),
    ),
    query=(OUTCOMES,),
    answers={
        202: answer("All were accepted.", Content(list[Outcome], _EXAMPLES)),
        207: answer(
            "An outcome for each, and of a stream a summary.",
            Content(list[Outcome], [*_EXAMPLES, _REFUSED]),
            Content(str, '{"summary":{"accepted":2,"rejected":0}}\n', _NDJSON),
        ),
    },
    refusals=PUBLISHING,
)


def routes() -> list[web.RouteDef]:
    """Return the routes of this noun."""
    return [web.post("/v1/tasks/bulk", bulk, operation=BULK)]


async def bulk(request: web.Request) -> web.StreamResponse:
    """Publish many tasks; each is accepted or refused by itself."""
    caller = require(request, "submit")
    listing = OUTCOMES.of(request, queued="no")
    match body_type(request):
        case kind if kind in NDJSON:
            return await _stream(request, caller, listing or "errors")
        case "application/json":
            return await _array(request, caller, listing or "all")
    raise Problem(
        "unsupported-media-type",
        f"{request.content_type!r} is neither {JSON} nor NDJSON ({', '.join(sorted(NDJSON))})",
        queued="no",
    )


async def _stream(request: web.Request, caller: Caller, listing: Listing) -> web.StreamResponse:
    config = request.app[CONFIG]
    response = web.StreamResponse(
        status=207,
        headers={"Content-Type": "application/x-ndjson", "X-Request-Id": request[REQUEST_ID]},
    )
    eager = listing == "all"
    outcomes = OutcomeStream(
        request, response, eager=eager, stall_s=config.body_timeout_s if eager else _OMIT_AFTER_S
    )
    tasks = _bulk(request, caller, BulkOutcomes(listing, outcomes.tell), slowed=True)
    splitter = LineSplitter(config.max_task_bytes)
    try:
        try:
            async for chunk in request.app[INTAKE].bodies.chunks(request):
                for part in splitter.feed(chunk):
                    await tasks.take(part)
                    await outcomes.keep_up()
            for part in splitter.end():
                await tasks.take(part)
        except Problem as problem:
            # The body itself is bad: told as an answer of its own while nothing else was.
            if not tasks.line and not outcomes.started:
                raise
            tasks.refuse(problem)
        await tasks.settle()
        summary = tasks.outcomes.summary()
        if outcomes.omitted:
            summary["omitted"] = outcomes.omitted
        await outcomes.finish(orjson.dumps({"summary": summary}))
    finally:
        outcomes.close()
    return response


async def _array(request: web.Request, caller: Caller, listing: Listing) -> web.StreamResponse:
    """Publish an array, once all of it has come and is known to be one."""
    config = request.app[CONFIG]
    pause = request.app[INTAKE].turns.of(request)
    with (
        contextlib.closing(HeldBody(request.app[INTAKE].held, caller.tenant)) as held,
        contextlib.closing(HeldBody(request.app[INTAKE].held, caller.tenant)) as told,
    ):
        tasks = _bulk(request, caller, BulkOutcomes(listing, told.tell), slowed=False)
        try:
            proof = ArraySplitter(config.max_task_bytes)
            async for chunk in request.app[INTAKE].bodies.chunks(request, whole=True):
                if held.size + len(chunk) > config.max_array_bytes:
                    raise too_large(config.max_array_bytes)
                held.add(chunk)
                await _prove(proof.feed(chunk), pause)
            await _prove(proof.end(), pause)
            await _publish(tasks, held, told, ArraySplitter(config.max_task_bytes))
        except MalformedBodyError as error:
            raise malformed_json(f"not a JSON array: {error}") from None
        return await _answer(request, tasks, told, pause)


async def _publish(tasks: Bulk, held: HeldBody, told: HeldBody, splitter: ArraySplitter) -> None:
    """Publish an array, as far as there is room for its outcomes: those of nothing are long."""
    for part in _parts(held, splitter):
        await tasks.take(part)
        if told.size > MAX_ANSWER_BYTES or told.problem is not None:
            rest = "its outcome and those behind it have no room in the answer; not submitted"
            tasks.refuse(Problem("overloaded", rest, queued="no"))
            break
    await tasks.settle()


def _parts(held: HeldBody, splitter: ArraySplitter) -> Iterator[Part]:
    """Yield the elements of an array, and behind each chunk no lines: a turn at the loop."""
    for chunk in held.take():
        yield from splitter.feed(chunk)
        yield 0
    yield from splitter.end()


async def _answer(
    request: web.Request, tasks: Bulk, told: HeldBody, pause: Pause
) -> web.StreamResponse:
    """The outcomes as one array."""
    status = 207 if tasks.outcomes.rejected else 202
    headers = {"Content-Type": "application/json; charset=utf-8"}
    if told.size <= CHUNK_BYTES:
        body = b"".join(told.take())
        return web.Response(status=status, body=b"[%b]" % body[1:], headers=headers)
    headers |= {"Content-Length": str(told.size + 1), "X-Request-Id": request[REQUEST_ID]}
    response = web.StreamResponse(status=status, headers=headers)
    await response.prepare(request)
    begin = b"["
    for block in told.take():
        await response.write(begin + block[len(begin) :])
        begin = b""
        await pause()  # a client that reads as fast as this writes is not waited for
    await response.write(b"]")
    await response.write_eof()
    return response


async def _prove(parts: Iterable[list[bytes]], pause: Pause) -> None:
    """Look whether elements are JSON.

    Raises:
        MalformedBodyError: One is not.
    """
    for part in parts:
        if not all(map(is_json, part)):
            raise MalformedBodyError("an element is not valid JSON")
        await pause()


def _bulk(request: web.Request, caller: Caller, outcomes: BulkOutcomes, *, slowed: bool) -> Bulk:
    config = request.app[CONFIG]
    terms = BulkTerms(
        caller=caller,
        carried=carried(request),
        max_task_bytes=config.max_task_bytes,
        doubt_s=config.confirm_timeout_s,
    )
    pace = Pace(work_of(request), request.app[INTAKE].turns.of(request), slowed)
    return Bulk(request.app[SUBMITTING].submission, terms, outcomes, pace)
