"""POST /v1/ingest/{collection}: documents in, receipts of their batches out."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson
from aiohttp import web

from gateway.auth import require
from gateway.body import iter_body, read_body, too_large
from gateway.documents import DocumentChecker
from gateway.errors import Problem, invalid_request
from gateway.handlers.queries import wait_seconds
from gateway.handlers.submit import traceparent
from gateway.ingestion import Form, Ingestion
from gateway.json_array import JsonSplitter
from gateway.ndjson import LineSplitter
from gateway.parts import BATCHES, CHECKER, CONFIG, GROUP_COMMIT, WATCH
from gateway.request_batches import Counts
from gateway.states import State
from gateway.stored import add_up

_PARAMETERS: Final = frozenset({"key", "ids", "on_error", "ack", "wait"})
_DEFAULT_WAIT_S: Final = 10.0
_ALONE_BYTES: Final = 256 * 1024
"""A JSON body up to this size is read at once, and may share its batch."""


def routes() -> list[web.RouteDef]:
    """The routes of this noun."""
    return [web.post("/v1/ingest/{collection}", ingest)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """The query of an ingest."""

    key: tuple[str, ...] = ()
    """Fields that an absent `_id` is derived from."""
    every_id: bool = False
    """List the ids however many they are."""
    skip: bool = False
    """Leave bad documents out instead of refusing the request."""
    stored: bool = False
    """Answer when MongoDB has the documents."""
    wait_s: float = _DEFAULT_WAIT_S
    """Longest wait for that; seconds."""


_PLAIN: Final = Query()


async def ingest(request: web.Request) -> web.StreamResponse:
    """Publish documents in batches; 202 is a receipt that RabbitMQ confirmed each."""
    caller = require(request, "ingest")
    batches = request.app[BATCHES]
    collection = request.match_info["collection"]
    lane = batches.lane(caller.tenant, collection, traceparent(request))
    if not caller.may_ingest(collection):
        raise Problem("forbidden", f"the key does not allow {collection!r}", queued="no")
    batches.check_room(lane)
    query = read_query(request) if request.query_string else _PLAIN
    form = _form(request)
    chunks: AsyncIterator[bytes]
    length = request.content_length
    if not form.streamed and length is not None and length <= _ALONE_BYTES:
        body = await read_body(request, request.app[CONFIG].max_array_bytes)
        if query is _PLAIN and _first_byte(body) != b"[":
            checked = request.app[CHECKER].check((body,), 1)
            if checked.documents:
                task_id = await request.app[GROUP_COMMIT].commit(lane, checked.documents[0])
                return _json(202, _receipt(1, b"[%b]" % checked.ids[0], [task_id]))
        chunks = _once(body)
    else:
        chunks = iter_body(request)
    checker = DocumentChecker(request.app[CONFIG].max_document_bytes, query.key)
    ingestion = Ingestion(batches, lane, checker, form, skip=query.skip, every_id=query.every_id)
    counts = await ingestion.run(chunks)
    if query.stored and lane.tracked and counts.problem is None:
        answer = await _stored(request, query, ingestion, counts)
        if answer is not None:
            return answer
    return _accepted(ingestion, counts)


def read_query(request: web.Request) -> Query:
    """The query, checked.

    Raises:
        Problem: `invalid-request` (queued: no).
    """
    given = request.query
    for name in given:
        if name not in _PARAMETERS:
            raise invalid_request(f"?{name}", "Unknown parameter", queued="no")
        if len(given.getall(name)) > 1:
            raise invalid_request(f"?{name}", "Given twice", queued="no")
    key = tuple(given["key"].split(",")) if "key" in given else ()
    if "" in key or "_id" in key or len(set(key)) < len(key):
        raise invalid_request("?key", "Expected names of fields: a,b", queued="no")
    stored = _choice(given, "ack", ("confirmed", "stored")) == "stored"
    wait_s = wait_seconds(request, queued="no")
    if wait_s is not None and not stored:
        raise invalid_request("?wait", "Only with ack=stored", queued="no")
    return Query(
        key=key,
        every_id=_choice(given, "ids", ("few", "all")) == "all",
        skip=_choice(given, "on_error", ("reject", "skip")) == "skip",
        stored=stored,
        wait_s=_DEFAULT_WAIT_S if wait_s is None else wait_s,
    )


def _choice(given: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    """A parameter with few values, the first by default."""
    value = given.get(name, choices[0])
    if value not in choices:
        raise invalid_request(f"?{name}", f"Expected one of {', '.join(choices)}", queued="no")
    return value


def _form(request: web.Request) -> Form:
    config = request.app[CONFIG]
    bound = config.max_document_bytes
    match request.content_type:
        case "application/json":
            length = request.content_length
            if length is not None and length > config.max_array_bytes:
                raise too_large(config.max_array_bytes)
            return Form(splitter=JsonSplitter(bound), max_bytes=config.max_array_bytes)
        case "application/x-ndjson":
            return Form(splitter=LineSplitter(bound), max_bytes=None)
    raise Problem(
        "unsupported-media-type",
        f"{request.content_type!r} is neither application/json nor application/x-ndjson",
        queued="no",
    )


def _first_byte(body: bytes) -> bytes:
    start = body[:1]
    return start if start > b" " else body.lstrip(b" \t\r\n")[:1]


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body


async def _stored(
    request: web.Request, query: Query, ingestion: Ingestion, counts: Counts
) -> web.Response | None:
    """The answer once MongoDB has the documents; None when that takes too long."""
    ended: Mapping[str, State] = {}
    if counts.batches:
        ended = await request.app[WATCH].ended(counts.batches, query.wait_s)
    members = add_up(zip(counts.batches, counts.sizes, strict=True), ended)
    if members is None:
        return None
    members["batches"] = counts.batches
    if counts.ids_json is not None:
        members["ids"] = orjson.Fragment(counts.ids_json)
    members |= ingestion.told_rejected()
    return _json(207 if ingestion.rejected_count else 200, orjson.dumps(members))


def _accepted(ingestion: Ingestion, counts: Counts) -> web.Response:
    """202 when RabbitMQ has every document, else 207.

    Raises:
        Problem: It has none.
    """
    problem = counts.problem
    rejected = ingestion.told_rejected()
    if problem is not None and not counts.accepted:
        problem.members |= {"accepted": 0, "refused": counts.refused, "unknown": counts.unknown}
        problem.members |= rejected
        raise problem
    if problem is None and not rejected:
        return _json(202, _receipt(counts.accepted, counts.ids_json, counts.batches))
    members: dict[str, Any] = {
        "accepted": counts.accepted,
        "refused": counts.refused,
        "unknown": counts.unknown,
        "batches": counts.batches,
    }
    if counts.ids_json is not None:
        members["ids"] = orjson.Fragment(counts.ids_json)
    if problem is not None:
        members["problem"] = {"code": problem.code, "detail": problem.detail}
        if not ingestion.complete:
            members["stopped_after_line"] = ingestion.line
    return _json(207, orjson.dumps(members | rejected))


def _receipt(accepted: int, ids: bytes | None, batches: list[str]) -> bytes:
    return b'{"accepted":%d,%b"batches":[%b]}' % (
        accepted,
        b"" if ids is None else b'"ids":%b,' % ids,
        ",".join(f'"{task_id}"' for task_id in batches).encode(),
    )


def _json(status: int, body: bytes) -> web.Response:
    return web.Response(
        status=status, body=body, headers={"Content-Type": "application/json; charset=utf-8"}
    )
