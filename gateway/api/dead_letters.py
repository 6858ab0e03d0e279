"""Messages that ended in a dead-letter queue: what they are, and another chance for them."""

from typing import Annotated

import msgspec
import orjson
from aiohttp import web

from gateway.access.auth import require
from gateway.access.work import work_of
from gateway.api.parts import BROKER, INTAKE, SUBMITTING
from gateway.errors import invalid_request
from gateway.http.media_types import check_json
from gateway.rabbitmq.dead_letters import DEFAULT_RATE
from gateway.submitting.task_request import decode_with

DEFAULT_LIMIT = 100
MAX_LIMIT = 1000


class ReplayRequest(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Which letters to publish again: either `ids` or `all`."""

    ids: Annotated[list[str], msgspec.Meta(min_length=1, max_length=10_000)] | None = None
    all: bool = False
    rate: Annotated[float, msgspec.Meta(gt=0, le=10_000)] = DEFAULT_RATE
    """Letters each second."""


_replay = msgspec.json.Decoder(ReplayRequest).decode


def routes() -> list[web.RouteDef]:
    """The routes of this noun."""
    return [
        web.get("/v1/dead-letters/{queue}", look),
        web.post("/v1/dead-letters/{queue}/replay", replay),
    ]


async def look(request: web.Request) -> web.Response:
    """The first letters of a queue, `?limit=` (1 to 1,000) of them; they stay where they are."""
    require(request, "admin")
    text = request.query.get("limit", str(DEFAULT_LIMIT))
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text[:9]) <= MAX_LIMIT:
        raise invalid_request("?limit", f"Expected a whole number from 1 to {MAX_LIMIT}")
    dead_letters = request.app[BROKER].dead_letters
    queue = dead_letters.work_queue(request.match_info["queue"])
    total, letters = await dead_letters.look(queue, int(text))
    return _json(
        {"queue": queue, "total": total, "letters": [letter.to_json() for letter in letters]}
    )


async def replay(request: web.Request) -> web.Response:
    """Publish letters again to the queue they died in; 200 tells which, and what remains."""
    require(request, "admin")
    check_json(request)
    body = await request.app[INTAKE].bodies.read(request, request.app[SUBMITTING].max_task_bytes)
    asked: ReplayRequest = decode_with(_replay, body)
    if (asked.ids is None) == (not asked.all):
        raise invalid_request("$", "Expected either ids or all: true", queued="no")
    dead_letters = request.app[BROKER].dead_letters
    queue = dead_letters.work_queue(request.match_info["queue"])
    done = await dead_letters.replay(queue, asked.ids, asked.rate)
    work_of(request).charge(len(done.replayed) + len(done.failed))
    return _json(
        {
            "queue": queue,
            "replayed": len(done.replayed),
            "ids": done.replayed,
            "failed": done.failed,
            "missing": done.missing,
            "remaining": done.remaining,
        }
    )


def _json(body: dict[str, object]) -> web.Response:
    return web.Response(body=orjson.dumps(body), headers={"Content-Type": "application/json"})
