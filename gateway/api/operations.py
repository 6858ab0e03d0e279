"""Whether the gateway lives, whether it is of use, and what it counts."""

from typing import Any

import orjson
from aiohttp import web

from gateway.access.auth import require
from gateway.api.parts import BROKER, CONFIG, FRONT, INTAKE, LOOPS, REDIS, SUBMITTING
from gateway.errors import RETRY_AFTER_S
from gateway.http.traits import ANY_HOST, OPEN
from gateway.redis.faults import RedisAwayError
from gateway.telemetry.log import hide_secrets
from gateway.timestamps import rfc3339


def routes() -> list[web.RouteDef]:
    """The routes of this noun."""
    return [
        web.get("/healthz", healthz, traits=(OPEN, ANY_HOST)),
        web.get("/readyz", readyz, traits=(OPEN, ANY_HOST)),
        web.get("/metrics", metrics),
    ]


async def healthz(request: web.Request) -> web.Response:
    """The process lives and its event loop turns."""
    del request
    return _json(200, {"status": "ok"})


async def readyz(request: web.Request) -> web.Response:
    """Each check; 503 when a submit would be refused. Redis away is degraded, not unready."""
    app = request.app
    publisher, catalog = app[BROKER].publisher, app[SUBMITTING].catalog
    state = publisher.state
    failing = {one.loop: one for one in app[LOOPS].failing}
    redis_ok, redis_detail = await _redis(request)
    draining = app[INTAKE].drain.started or publisher.draining
    why = publisher.tls_error or (failing["publisher"].error if "publisher" in failing else "")
    checks: dict[str, dict[str, Any]] = {
        "rabbitmq": {
            "ok": state in {"ready", "draining"},
            "detail": f"{state}: {hide_secrets(why)}" if why and state != "ready" else state,
        },
        "topology": {
            "ok": publisher.declared,
            "detail": publisher.declaration_error
            or ("declared" if publisher.declared else "not declared yet"),
        },
        "redis": {"ok": redis_ok, "detail": redis_detail},
        "catalog": {
            "ok": catalog.refreshed_at is not None,
            "detail": f"{len(catalog.tasks)} tasks" if catalog.looked else "not read yet",
        },
        "loops": {
            "ok": not failing,
            "detail": ", ".join(failing) or "well",
            "failing": [
                {
                    "loop": one.loop,
                    "since": rfc3339(one.since),
                    "error": hide_secrets(one.error),
                }
                for one in failing.values()
            ],
        },
        "draining": {"ok": not draining, "detail": "yes" if draining else "no"},
    }
    if draining:
        return _json(503, {"status": "draining", "checks": checks})
    # Before the catalog is read no arguments are checked; while Redis is away that is told.
    known = checks["catalog"]["ok"] or (catalog.looked and (catalog.redis_answers or not redis_ok))
    if not (checks["rabbitmq"]["ok"] and checks["topology"]["ok"] and known):
        return _json(503, {"status": "unavailable", "checks": checks})
    well = redis_ok and not failing
    return _json(200, {"status": "ok" if well else "degraded", "checks": checks})


async def metrics(request: web.Request) -> web.Response:
    """Prometheus' text format 0.0.4; needs `admin` unless METRICS_PUBLIC is set."""
    if not request.app[CONFIG].metrics_public:
        require(request, "admin")
    return web.Response(
        body=await request.app[FRONT].metrics.exposition(),
        headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
    )


async def _redis(request: web.Request) -> tuple[bool, str]:
    try:
        memory = await request.app[REDIS].memory()
    except RedisAwayError as error:
        return False, hide_secrets(error.reason)
    used, most = int(memory.get("used_memory", 0)), int(memory.get("maxmemory", 0))
    if most and used >= most and memory.get("maxmemory_policy") == "noeviction":
        return False, f"full: {used} of {most} bytes; states cannot be stored"
    return True, "answers"


def _json(status: int, body: dict[str, Any]) -> web.Response:
    headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
    if status == 503:
        headers["Retry-After"] = str(RETRY_AFTER_S)
    return web.Response(status=status, body=orjson.dumps(body), headers=headers)
