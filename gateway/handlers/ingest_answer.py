"""The answers of an ingest: receipts, what was stored, what of it was not accepted."""

from collections.abc import Mapping
from itertools import repeat
from typing import Any

import orjson
from aiohttp import web

from gateway.handlers.ingest_query import Query
from gateway.ingest.ingestion import Ingestion
from gateway.ingest.request_batches import Counts
from gateway.ingest.stored import add_up
from gateway.parts import WATCH
from gateway.watching.states import State


async def stored(
    request: web.Request, query: Query, ingestion: Ingestion, counts: Counts
) -> web.Response | None:
    """The answer once MongoDB has the documents; None when that takes too long."""
    ended: Mapping[str, State] = {}
    if counts.batches:
        ended = await request.app[WATCH].ended(counts.batches, query.wait_s)
    listed = counts.ids if len(counts.ids) == len(counts.batches) else repeat(b"")
    members = add_up(zip(counts.batches, counts.sizes, listed, strict=False), ended)
    if members is None:
        return None
    members["batches"] = counts.batches
    if counts.ids_json is not None:
        members["ids"] = orjson.Fragment(counts.ids_json)
    members |= ingestion.told_rejected()
    return json_answer(207 if ingestion.rejected_count else 200, orjson.dumps(members))


def accepted(ingestion: Ingestion, counts: Counts) -> web.Response:
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
        return json_answer(202, receipt(counts.accepted, counts.ids_json, counts.batches))
    members: dict[str, Any] = {
        "accepted": counts.accepted,
        "refused": counts.refused,
        "unknown": counts.unknown,
        "batches": counts.batches,
    }
    ids = counts.ids_json if problem is None else counts.kept_ids_json
    if ids is not None:
        members["ids"] = orjson.Fragment(ids)
    if problem is not None:
        members["problem"] = {"code": problem.code, "detail": problem.detail}
        if not ingestion.complete:
            members["stopped_after_line"] = ingestion.line
    return json_answer(207, orjson.dumps(members | rejected))


def receipt(accepted: int, ids: bytes | None, batches: list[str]) -> bytes:
    """Write the JSON of a 202.

    Args:
        accepted: Documents.
        ids: A JSON array of their `_id`s; None leaves it out.
        batches: Task ids.
    """
    return b'{"accepted":%d,%b"batches":[%b]}' % (
        accepted,
        b"" if ids is None else b'"ids":%b,' % ids,
        ",".join(f'"{task_id}"' for task_id in batches).encode(),
    )


def json_answer(status: int, body: bytes) -> web.Response:
    """Answer with JSON."""
    return web.Response(
        status=status, body=body, headers={"Content-Type": "application/json; charset=utf-8"}
    )
