"""What a query is answered with when MongoDB is away: the one place that knows its exceptions."""

import logging
from collections.abc import Awaitable, Callable

import orjson
from aiohttp import web
from pymongo.errors import ExecutionTimeout, PyMongoError

log = logging.getLogger(__name__)


def problem(status: int, code: str, detail: str) -> web.Response:
    """Return an error as JSON: its code, and a sentence."""
    body = orjson.dumps({"code": code, "detail": detail})
    return web.Response(status=status, body=body, content_type="application/json")


@web.middleware
async def answering_faults(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Answer 503 `mongo-away` or 504 `query-timeout` in place of PyMongo's exceptions."""
    try:
        return await handler(request)
    except ExecutionTimeout:
        return problem(504, "query-timeout", "the query took longer than it may")
    except PyMongoError as error:
        log.warning("query-failed: path=%r error=%r", request.path, str(error)[:500])
        return problem(503, "mongo-away", "MongoDB does not answer the query")
