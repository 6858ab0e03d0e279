"""Whether the process lives, whether it can answer, and its metrics."""

import orjson
from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from pymongo.errors import PyMongoError

from history.keys import DATABASE, METRICS


async def healthz(_: web.Request) -> web.Response:
    """Answer that the process lives."""
    return web.json_response({"status": "ok"})


async def readyz(request: web.Request) -> web.Response:
    """Answer whether queries can be answered: 503 while MongoDB is away."""
    try:
        await request.app[DATABASE].ping()
    except PyMongoError as error:
        body = orjson.dumps({"status": "unavailable", "mongo": str(error)[:200]})
        return web.Response(status=503, body=body, content_type="application/json")
    return web.json_response({"status": "ok"})


async def metrics(request: web.Request) -> web.Response:
    """Answer the metrics in Prometheus' text format."""
    body = request.app[METRICS].exposition()
    return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})


ROUTES = (
    web.get("/healthz", healthz),
    web.get("/readyz", readyz),
    web.get("/metrics", metrics),
)
