"""POST /v1/ingest/{collection}: documents in, receipts of their batches out."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, Final

import orjson
from aiohttp import hdrs, web

from gateway.access import idempotency
from gateway.access.auth import Caller, require
from gateway.access.carried import carried
from gateway.access.copies import Copy
from gateway.access.idempotency import Claim
from gateway.access.once import Answered, ClientLeftError, once
from gateway.access.work import FREE, Pace, Work, work_of
from gateway.api.ingest_answer import Ingested, accepted, json_answer, receipt, stored
from gateway.api.ingest_query import PARAMETERS, Query, read_query
from gateway.api.operation import PUBLISHING, Content, Operation, answer
from gateway.api.parts import ACCESS, INGESTING, INTAKE
from gateway.errors import Problem, invalid_request
from gateway.http.body import CHUNK_BYTES, too_large
from gateway.http.media_types import JSON, NDJSON, body_type
from gateway.http.receipt import ReceiptResponse
from gateway.ingesting.documents import SINGLE_BYTES, Bounds
from gateway.ingesting.ingestion import HELD_BYTES, Ingestion
from gateway.ingesting.lanes import Lane

_PLAIN: Final = Query()


_ID: Final = "019b0e2c-4d5e-7f10-8a1b-2c3d4e5f6071"
_RECEIPT: Final = {"accepted": 1, "ids": [_ID], "batches": [f"{_ID}-00a1b2c3d4e5"]}
_STORED: Final = {"stored": 1, "duplicates": 0, "failed": [], "batches": _RECEIPT["batches"]}
_PARTLY: Final = {
    **_RECEIPT,
    "refused": 0,
    "unknown": 0,
    "rejected": [{"line": 2, "at": "$.$where", "detail": "a key starts with $"}],
    "rejected_count": 1,
}

INGEST = Operation(
    summary="Ingest documents: one object, an array, or NDJSON of any length.",
    tag="Documents",
    scope="ingest",
    body=(
        Content(dict[str, Any] | list[dict[str, Any]], {"sensor": 7, "celsius": 21.5}),
        Content(str, '{"sensor": 7, "celsius": 21.5}\n{"sensor": 8}\n', "application/x-ndjson"),
    ),
    query=PARAMETERS,
    answers={
        200: answer("MongoDB has them (`ack=stored`).", Content(Ingested, _STORED)),
        202: answer("RabbitMQ confirmed every batch.", Content(Ingested, _RECEIPT)),
        207: answer(
            "Some batches or documents were refused; `Retry-After`: when to send the rest again.",
            Content(Ingested, _PARTLY),
        ),
    },
    refusals=(*PUBLISHING, "unknown-collection", "invalid-document"),
    idempotent=True,
)


def routes() -> list[web.RouteDef]:
    """Return the routes of this noun."""
    return [web.post("/v1/ingest/{collection}", ingest, operation=INGEST)]


async def ingest(request: web.Request) -> web.StreamResponse:
    """Publish documents in batches; 202 is a receipt that RabbitMQ confirmed each."""
    caller = require(request, "ingest")
    app = request.app
    documents, intake = app[INGESTING].documents, app[INTAKE]
    lane = documents.lane(caller, request.match_info["collection"])
    query = read_query(request) if request.query_string else _PLAIN
    length = request.content_length
    streamed = _is_streamed(request, length, documents.bounds)
    if idempotency.HEADER in request.headers:
        return await _ingest_once(request, caller, lane, query)
    chunks: AsyncIterator[bytes]
    if not streamed and length is not None and length <= SINGLE_BYTES:
        if hdrs.CONTENT_ENCODING in request.headers:
            body, chunks = await _begin(intake.bodies.chunks(request, whole=True))
        else:
            body = await intake.bodies.read(request, documents.bounds.array_bytes)
            chunks = _pieces(body)
        if query is _PLAIN and len(body) <= SINGLE_BYTES:
            single = await documents.single(lane, body, carried(request))
            if single is not None:
                id_, batch = single
                return ReceiptResponse(receipt(1, b"[%b]" % id_, [batch]))
    else:
        chunks = intake.bodies.chunks(request, whole=not streamed)
    pace = Pace(work_of(request), intake.turns.of(request), slowed=streamed)
    form = documents.lines() if streamed else documents.json()
    ingestion = documents.begin(lane.of(carried(request)), form, query.options, pace)
    try:
        tally = await ingestion.run(chunks)
        if query.stored and lane.tracked and tally.problem is None:
            return await stored(request, query, ingestion)
        return accepted(ingestion)
    finally:
        ingestion.release()


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
    try:
        answered = await once(
            request.app[ACCESS].idempotency, idempotency.key_use(request, caller, key, body), keyed
        )
        if answered.replayed:
            return _replayed(answered.body)
        if query.stored and lane.tracked and answered.whole:
            return await stored(request, query, keyed.ingestion)
        return keyed.answer
    finally:
        keyed.release()


class _Keyed:
    """Documents under an idempotency key: an `Attempt`.

    The body is gone through twice: once to know how many batches it makes, so that their ids can
    be written down before any of them is published.
    """

    ingestion: Ingestion
    answer: web.Response

    def __init__(self, request: web.Request, lane: Lane, query: Query, body: bytes) -> None:
        self._request = request
        self._documents = request.app[INGESTING].documents
        self._lane = lane
        self._query = query
        self._body = body
        self._readings: list[Ingestion] = []

    def release(self) -> None:
        """Count what the answer needed as held no longer."""
        for reading in self._readings:
            reading.release()

    async def ids(self) -> list[str]:
        reading = self._reading(self._lane, [], work_of(self._request))
        count = await reading.count_batches(_pieces(self._body))
        return self._documents.issue(self._lane, count)

    async def publish(self, claim: Claim) -> Answered:
        copies = claim.copies
        lane = self._documents.copies_of(self._lane, carried(self._request), claim.owner)
        # What was refused has been charged by the first reading.
        work_of(self._request).charge(len(copies))
        self.ingestion = self._reading(lane, copies, FREE)
        try:
            tally = await self.ingestion.run(_pieces(self._body))
        except ConnectionResetError:
            raise ClientLeftError("unknown" if self.ingestion.published else "no") from None
        self.answer = accepted(self.ingestion)
        assert isinstance(self.answer.body, bytes)  # noqa: S101  # for the type checker
        # Where a part is queued a retry must use the same ids for all of it.
        return Answered(self.answer.body, whole=tally.problem is None)

    def _reading(self, lane: Lane, copies: list[Copy], work: Work) -> Ingestion:
        documents = self._documents
        request = self._request
        streamed = _is_streamed(request, request.content_length, documents.bounds)
        form = replace(documents.lines() if streamed else documents.json(), max_bytes=HELD_BYTES)
        pace = Pace(work, request.app[INTAKE].turns.of(request), slowed=False)
        reading = documents.begin(lane, form, self._query.options, pace, copies)
        self._readings.append(reading)
        return reading


def _replayed(body: bytes) -> web.Response:
    """Repeat the first answer, in its 202 form; 207 where documents were skipped."""
    answer = json_answer(207 if "rejected" in orjson.loads(body) else 202, body)
    answer.headers["Idempotency-Replayed"] = "true"
    return answer


def _is_streamed(request: web.Request, length: int | None, bounds: Bounds) -> bool:
    """Return whether the body is NDJSON; else it is JSON.

    Raises:
        Problem: `unsupported-media-type`, `body-too-large` (queued: no).
    """
    usual = request.headers.get(hdrs.CONTENT_TYPE) == JSON  # without aiohttp's parsing of it
    if usual or body_type(request) == JSON:
        if length is not None and length > bounds.array_bytes:
            raise too_large(bounds.array_bytes)
        return False
    if request.content_type in NDJSON:
        return True
    raise Problem(
        "unsupported-media-type",
        f"{request.content_type!r} is neither {JSON} nor NDJSON ({', '.join(sorted(NDJSON))})",
        queued="no",
    )


async def _begin(chunks: AsyncIterator[bytes]) -> tuple[bytes, AsyncIterator[bytes]]:
    """Return a body if it is small, else a beginning that is not; and all of it in chunks."""
    begin = bytearray()
    async for chunk in chunks:
        begin += chunk
        if len(begin) > SINGLE_BYTES:
            break
    body = bytes(begin)
    return body, _pieces(body, chunks)


async def _pieces(body: bytes, behind: AsyncIterator[bytes] | None = None) -> AsyncIterator[bytes]:
    """Chunk what was read of a body, and then what is behind it."""
    for start in range(0, len(body), CHUNK_BYTES):
        yield body[start : start + CHUNK_BYTES]
    if behind is not None:
        async for chunk in behind:
            yield chunk
