"""The answers of an ingest: receipts, what was stored, what of it was not accepted."""

import time
from collections.abc import Mapping
from itertools import repeat
from typing import Any

import msgspec
import orjson
from aiohttp import web

from gateway.api.fields import Count
from gateway.api.ingest_query import Query
from gateway.api.parts import WATCHING
from gateway.http.problems import retry_headers
from gateway.ingesting.ingestion import Ingestion
from gateway.ingesting.stored import add_up
from gateway.states.state import State


class FailedDocument(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A document that MongoDB refused."""

    index: Count | None = None
    """Its place among all documents of the request, from 0; absent behind 100,000 skipped ones."""
    detail: str
    id: Any = msgspec.field(name="_id", default=None)


class RejectedDocument(msgspec.Struct):
    """A document that is not valid."""

    line: Count
    """Of NDJSON; of an array its place, from 1."""
    at: str
    detail: str


class RestProblem(msgspec.Struct):
    """Why the rest was not accepted."""

    code: str
    detail: str


class Ingested(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What became of documents: written by `accepted`, `receipt` and `stored`."""

    accepted: Count | None = None
    """Documents whose batch RabbitMQ confirmed."""
    refused: Count | None = None
    unknown: Count | None = None
    """Documents that may be queued all the same."""
    ids: list[Any] | None = None
    """The `_id` of each; left out above 1,000 documents, or 4 MiB of them, unless `?ids=all`."""
    batches: list[str] | None = None
    """The task ids of the batches."""
    stored: Count | msgspec.UnsetType | None = msgspec.UNSET
    """With `ack=stored`: documents of this request that MongoDB has. null: not known in time."""
    duplicates: Count | None = None
    """Those that it had before."""
    waited_s: float | None = None
    """How long MongoDB was waited for, where it was in vain."""
    failed: list[FailedDocument] | None = None
    rejected: list[RejectedDocument] | None = None
    """The first 1,000 documents that are not valid."""
    rejected_count: Count | None = None
    problem: RestProblem | None = None
    stopped_after_line: Count | None = None
    """The last line that was read."""


async def stored(request: web.Request, query: Query, ingestion: Ingestion) -> web.Response:
    """Answer once MongoDB has the documents; when that takes too long, the receipt says so."""
    tally = ingestion.tally
    ended: Mapping[str, State] = {}
    started = time.monotonic()
    if tally.batches:
        ended = await request.app[WATCHING].watch.ended(tally.batches, query.wait_s)
    listed = tally.ids if len(tally.ids) == len(tally.batches) else repeat(b"")
    batches = zip(tally.batches, tally.sizes, listed, strict=False)
    members = add_up(batches, ended, ingestion.skipped_behind)
    if members is None:
        return accepted(ingestion, waited_s=time.monotonic() - started)
    members["batches"] = tally.batches
    if tally.ids_json is not None:
        members["ids"] = orjson.Fragment(tally.ids_json)
    rejected = ingestion.rejected()
    return json_answer(207 if rejected else 200, orjson.dumps(members | rejected))


def accepted(ingestion: Ingestion, *, waited_s: float | None = None) -> web.Response:
    """202 when RabbitMQ has every document, else 207.

    Args:
        ingestion: The request.
        waited_s: How long MongoDB was waited for, in vain; None: it was not.

    Raises:
        Problem: It has none.
    """
    tally = ingestion.tally
    problem = tally.problem
    rejected = ingestion.rejected()
    if problem is not None and not tally.accepted:
        problem.members |= {"accepted": 0, "refused": tally.refused, "unknown": tally.unknown}
        problem.members |= rejected
        raise problem
    if problem is None and not rejected:
        body = receipt(tally.accepted, tally.ids_json, tally.batches)
        if waited_s is not None:
            body = b'%b,"stored":null,"waited_s":%.3f}' % (body[:-1], waited_s)
        return json_answer(202, body)
    members: dict[str, Any] = {
        "accepted": tally.accepted,
        "refused": tally.refused,
        "unknown": tally.unknown,
        "batches": tally.batches,
    }
    if waited_s is not None:
        members |= {"stored": None, "waited_s": round(waited_s, 3)}
    ids = tally.ids_json if problem is None else tally.kept_ids_json
    if ids is not None:
        members["ids"] = orjson.Fragment(ids)
    if problem is not None:
        members["problem"] = {"code": problem.code, "detail": problem.detail}
        if not ingestion.complete:
            members["stopped_after_line"] = ingestion.line
    answer = json_answer(207, orjson.dumps(members | rejected))
    if problem is not None:
        answer.headers.update(retry_headers(problem))
    return answer


def receipt(accepted: int, ids: bytes | None, batches: list[str]) -> bytes:
    """Write the JSON of a 202.

    Args:
        accepted: Documents.
        ids: A JSON array of their `_id`s; None leaves it out.
        batches: Task ids.
    """
    return b'{"accepted":%d,%b"batches":%b}' % (
        accepted,
        b"" if ids is None else b'"ids":%b,' % ids,
        orjson.dumps(batches),
    )


def json_answer(status: int, body: bytes) -> web.Response:
    """Answer with JSON."""
    return web.Response(
        status=status, body=body, headers={"Content-Type": "application/json; charset=utf-8"}
    )
