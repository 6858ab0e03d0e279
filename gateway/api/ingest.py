"""POST /v1/ingest/{collection}: documents in, receipts of their batches out."""

from collections.abc import AsyncIterator
from typing import Final

import orjson
from aiohttp import web

from gateway.access import idempotency
from gateway.access.auth import Caller, require
from gateway.access.work import FREE, Work, work_of
from gateway.api.ingest_answer import accepted, json_answer, receipt, stored
from gateway.api.ingest_query import Query, read_query
from gateway.api.parts import ACCESS, CONFIG, INGESTING, INTAKE
from gateway.api.submit import traceparent
from gateway.decoding.json_array import JsonSplitter
from gateway.decoding.ndjson import LineSplitter
from gateway.errors import Problem, Queued, invalid_request
from gateway.http.body import too_large
from gateway.http.media_types import JSON, NDJSON
from gateway.http.receipt import Receipt
from gateway.http.traits import IDEMPOTENT
from gateway.ingesting.batch_publisher import Lane
from gateway.ingesting.checker import DocumentChecker
from gateway.ingesting.ingestion import HELD_BYTES, Form, Ingestion

_PLAIN: Final = Query()
_ALONE_BYTES: Final = 256 * 1024
"""A JSON body up to this size is read at once, and may share its batch."""
_CHUNK_BYTES: Final = 64 * 1024


def routes() -> list[web.RouteDef]:
    """The routes of this noun."""
    return [web.post("/v1/ingest/{collection}", ingest, traits=(IDEMPOTENT,))]


async def ingest(request: web.Request) -> web.StreamResponse:
    """Publish documents in batches; 202 is a receipt that RabbitMQ confirmed each."""
    caller = require(request, "ingest")
    batches = request.app[INGESTING].batches
    collection = request.match_info["collection"]
    lane = batches.lane(caller.tenant, collection, traceparent(request))
    if not caller.may_ingest(collection):
        raise Problem("forbidden", f"the key does not allow {collection!r}", queued="no")
    batches.check_room(lane)
    query = read_query(request) if request.query_string else _PLAIN
    form = _form(request)
    if idempotency.HEADER in request.headers:
        return await _ingest_once(request, caller, lane, query)
    chunks: AsyncIterator[bytes]
    length = request.content_length
    if not form.streamed and length is not None and length <= _ALONE_BYTES:
        body = await request.app[INTAKE].bodies.read(request, request.app[CONFIG].max_array_bytes)
        if query is _PLAIN and _first_byte(body) != b"[":
            checked = request.app[INGESTING].checker.check((body,), 1, 0)
            if checked.documents:
                task_id = await request.app[INGESTING].group_commit.commit(
                    lane, checked.documents[0]
                )
                return Receipt(receipt(1, b"[%b]" % checked.ids[0], [task_id]))
        chunks = _pieces(body)
    else:
        chunks = request.app[INTAKE].bodies.chunks(request, whole=not form.streamed)
    checker = DocumentChecker(request.app[CONFIG].max_document_bytes, query.key)
    ingestion = Ingestion(
        batches,
        lane,
        checker,
        form,
        work_of(request),
        pause=request.app[INTAKE].turns.of(request),
        skip=query.skip,
        every_id=query.every_id,
    )
    counts = await ingestion.run(chunks)
    if query.stored and lane.tracked and counts.problem is None:
        return await stored(request, query, ingestion, counts)
    return accepted(ingestion, counts)


async def _ingest_once(
    request: web.Request, caller: Caller, lane: Lane, query: Query
) -> web.StreamResponse:
    """Publish under an idempotency key.

    The body is gone through twice: once to know how many batches it makes, so that their ids can
    be written down before any of them is published.
    """
    keys, batches, config = (
        request.app[ACCESS].idempotency,
        request.app[INGESTING].batches,
        request.app[CONFIG],
    )
    key = idempotency.key_of(request) or ""
    try:
        body = await request.app[INTAKE].bodies.read(request, HELD_BYTES)
    except Problem as problem:
        if problem.code != "body-too-large":
            raise
        raise invalid_request(
            idempotency.HEADER, f"Is taken with at most {HELD_BYTES} bytes", queued="no"
        ) from None
    mark = idempotency.fingerprint(request, body)
    answered = await keys.replay(caller, key, mark)
    if answered is not None:
        return _replayed(answered)

    def reading(
        lane: Lane, seed: str | None, copies: list[tuple[str, str]], work: Work
    ) -> Ingestion:
        checker = DocumentChecker(config.max_document_bytes, query.key, seed)
        return Ingestion(
            batches,
            lane,
            checker,
            Form(splitter=_form(request).splitter, max_bytes=HELD_BYTES),
            work,
            pause=request.app[INTAKE].turns.of(request),
            skip=query.skip,
            every_id=query.every_id,
            copies=copies,
        )

    count = await reading(lane, None, [], work_of(request)).count_batches(_pieces(body))
    claim = await keys.claim(caller, key, mark, [batches.issue(lane) for _ in range(count)])
    if claim.answer is not None:
        return _replayed(claim.answer)
    owner = claim.owner
    # A message id is unique among the messages in flight, and of the task id's length.
    copies = [(task_id, task_id[: -len(owner)] + owner) for task_id in claim.task_ids]
    lane = batches.lane(caller.tenant, lane.collection, traceparent(request), copy=owner)
    work_of(request).charge(count)  # what was refused has been charged by the first reading
    ingestion = reading(lane, claim.task_ids[0] if copies else None, copies, FREE)
    try:
        counts = await ingestion.run(_pieces(body))
        if counts.problem is not None and counts.accepted:
            # A part is queued: a retry must use the same ids for all of it.
            await keys.failed(claim, Problem("unconfirmed", "in part", queued="unknown"))
            return accepted(ingestion, counts)
        first = accepted(ingestion, counts)
    except Problem as problem:
        await keys.failed(claim, problem)
        raise
    except ConnectionResetError:
        queued: Queued = "unknown" if ingestion.published else "no"
        await keys.failed(claim, Problem("unconfirmed", "the client has left", queued=queued))
        raise
    assert isinstance(first.body, bytes)  # noqa: S101  # for the type checker
    await keys.done(claim, first.body)
    if query.stored and lane.tracked:
        return await stored(request, query, ingestion, counts)
    return first


def _replayed(body: bytes) -> web.Response:
    """Tell the first answer again, in its 202 form; 207 where documents were skipped."""
    told = json_answer(207 if "rejected" in orjson.loads(body) else 202, body)
    told.headers["Idempotency-Replayed"] = "true"
    return told


def _form(request: web.Request) -> Form:
    """What the body is.

    Raises:
        Problem: `unsupported-media-type`, `body-too-large` (queued: no).
    """
    config = request.app[CONFIG]
    bound = config.max_document_bytes
    match request.content_type if request.body_exists else JSON:
        case "application/json":
            length = request.content_length
            if length is not None and length > config.max_array_bytes:
                raise too_large(config.max_array_bytes)
            return Form(splitter=JsonSplitter(bound), max_bytes=config.max_array_bytes)
        case kind if kind in NDJSON:
            return Form(splitter=LineSplitter(bound), max_bytes=None)
    raise Problem(
        "unsupported-media-type",
        f"{request.content_type!r} is neither {JSON} nor NDJSON ({', '.join(sorted(NDJSON))})",
        queued="no",
    )


def _first_byte(body: bytes) -> bytes:
    start = body[:1]
    return start if start > b" " else body.lstrip(b" \t\r\n")[:1]


async def _pieces(body: bytes) -> AsyncIterator[bytes]:
    """Chunk a body that was read whole."""
    for start in range(0, len(body), _CHUNK_BYTES):
        yield body[start : start + _CHUNK_BYTES]
