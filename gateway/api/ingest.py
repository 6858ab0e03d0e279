"""POST /v1/ingest/{collection}: documents in, receipts of their batches out."""

from collections.abc import AsyncIterator
from typing import Final

import orjson
from aiohttp import web

from gateway.access import idempotency
from gateway.access.auth import Caller, require
from gateway.access.copies import Copy
from gateway.access.idempotency import Claim
from gateway.access.once import Answered, ClientLeftError, once
from gateway.access.work import FREE, Work, work_of
from gateway.api.ingest_answer import accepted, json_answer, receipt, stored
from gateway.api.ingest_query import Query, read_query
from gateway.api.parts import ACCESS, CONFIG, INGESTING, INTAKE
from gateway.decoding.json_array import JsonSplitter
from gateway.decoding.ndjson import LineSplitter
from gateway.errors import Problem, invalid_request
from gateway.http.body import too_large
from gateway.http.media_types import JSON, NDJSON
from gateway.http.receipt import Receipt
from gateway.http.trace_context import traceparent
from gateway.http.traits import IDEMPOTENT
from gateway.ingesting.batch_publisher import Lane
from gateway.ingesting.checker import DocumentChecker
from gateway.ingesting.ingestion import HELD_BYTES, Form, Ingestion
from gateway.ingesting.request_batches import Tally

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
    """Publish under an idempotency key."""
    key = idempotency.key_of(request) or ""
    try:
        body = await request.app[INTAKE].bodies.read(request, HELD_BYTES)
    except Problem as problem:
        if problem.code != "body-too-large":
            raise
        raise invalid_request(
            idempotency.HEADER, f"Is taken with at most {HELD_BYTES} bytes", queued="no"
        ) from None
    keyed = _Keyed(request, lane, query, body)
    answered = await once(
        request.app[ACCESS].idempotency, idempotency.key_use(request, caller, key, body), keyed
    )
    if answered.replayed:
        return _replayed(answered.body)
    if query.stored and lane.tracked and answered.whole:
        return await stored(request, query, keyed.ingestion, keyed.counts)
    return keyed.answer


class _Keyed:
    """Documents under an idempotency key: an `Attempt`.

    The body is gone through twice: once to know how many batches it makes, so that their ids can
    be written down before any of them is published.
    """

    ingestion: Ingestion
    counts: Tally
    answer: web.Response

    def __init__(self, request: web.Request, lane: Lane, query: Query, body: bytes) -> None:
        self._request = request
        self._lane = lane
        self._query = query
        self._body = body

    async def ids(self) -> list[str]:
        reading = self._reading(self._lane, [], work_of(self._request))
        count = await reading.count_batches(_pieces(self._body))
        return [self._request.app[INGESTING].batches.issue(self._lane) for _ in range(count)]

    async def publish(self, claim: Claim) -> Answered:
        lane, copies = self._lane, claim.copies
        named = self._request.app[INGESTING].batches.lane(
            lane.tenant, lane.collection, traceparent(self._request), copy=claim.owner
        )
        # What was refused has been charged by the first reading.
        work_of(self._request).charge(len(copies))
        self.ingestion = self._reading(named, copies, FREE)
        try:
            self.counts = await self.ingestion.run(_pieces(self._body))
        except ConnectionResetError:
            raise ClientLeftError("unknown" if self.ingestion.published else "no") from None
        self.answer = accepted(self.ingestion, self.counts)
        assert isinstance(self.answer.body, bytes)  # noqa: S101  # for the type checker
        # Where a part is queued a retry must use the same ids for all of it.
        return Answered(self.answer.body, whole=self.counts.problem is None)

    def _reading(self, lane: Lane, copies: list[Copy], work: Work) -> Ingestion:
        app, query = self._request.app, self._query
        seed = copies[0].task_id if copies else None
        return Ingestion(
            app[INGESTING].batches,
            lane,
            DocumentChecker(app[CONFIG].max_document_bytes, query.key, seed),
            Form(splitter=_form(self._request).splitter, max_bytes=HELD_BYTES),
            work,
            pause=app[INTAKE].turns.of(self._request),
            skip=query.skip,
            every_id=query.every_id,
            copies=[(copy.task_id, copy.message_id) for copy in copies],
        )


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
