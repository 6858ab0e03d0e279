"""Whether the gateway lives, whether it is of use, and what it counts."""

from typing import Literal

import msgspec
from aiohttp import web

from gateway.access.auth import require
from gateway.api.operation import Content, Operation, answer
from gateway.api.parts import BROKER, CONFIG, FRONT, INTAKE, LOOPS, REDIS, SUBMITTING
from gateway.errors import RETRY_AFTER_S
from gateway.redis.faults import RedisAwayError
from gateway.telemetry.log import hide_secrets
from gateway.timestamps import Time, rfc3339


class Health(msgspec.Struct):
    """The process lives."""

    status: Literal["ok"]


class FailingLoop(msgspec.Struct):
    """A background loop that fails at the moment."""

    loop: str
    since: Time
    error: str


class Check(msgspec.Struct, omit_defaults=True):
    """One thing that a submit needs."""

    ok: bool
    detail: str
    failing: list[FailingLoop] | None = None
    """Of `loops`."""


class Readiness(msgspec.Struct):
    """Each check, and what follows from them."""

    status: Literal["ok", "degraded", "unavailable", "draining"]
    checks: dict[str, Check]


_PROBE_TIMEOUT_S = 1.0
"""For each question to Redis: less than a balancer waits for an answer."""
_READY = {
    "status": "ok",
    "checks": {
        "rabbitmq": {"ok": True, "detail": "ready"},
        "topology": {"ok": True, "detail": "declared"},
        "redis": {"ok": True, "detail": "answers"},
        "catalog": {"ok": True, "detail": "12 tasks"},
        "loops": {"ok": True, "detail": "well", "failing": []},
        "draining": {"ok": True, "detail": "no"},
    },
}
HEALTHZ = Operation(
    summary="The process lives.",
    tag="Operations",
    scope=None,
    answers={200: answer("It does.", Content(Health, {"status": "ok"}))},
    any_host=True,
)
READYZ = Operation(
    summary="Each check; 503 when submits would be refused.",
    tag="Operations",
    scope=None,
    answers={
        200: answer(
            "Ready; `degraded` while Redis is away or stores nothing, RabbitMQ's account may not "
            "make all of the layout, or one of `checks.loops` fails.",
            Content(Readiness, _READY),
        ),
        503: answer(
            "RabbitMQ is not usable, the catalog has not been read yet, or draining.",
            Content(Readiness),
        ),
    },
    any_host=True,
)
METRICS = Operation(
    summary="Counters and gauges of this process for Prometheus.",
    tag="Operations",
    scope="admin",
    answers={200: answer("Text format 0.0.4.", Content(str, media="text/plain"))},
)


def routes() -> list[web.RouteDef]:
    """Return the routes of this noun."""
    return [
        web.get("/healthz", healthz, operation=HEALTHZ),
        web.get("/readyz", readyz, operation=READYZ),
        web.get("/metrics", metrics, operation=METRICS),
    ]


async def healthz(request: web.Request) -> web.Response:
    """The process lives and its event loop turns."""
    del request
    return _json(200, Health("ok"))


async def readyz(request: web.Request) -> web.Response:
    """Each check; 503 when a submit would be refused. Redis away is degraded, not unready."""
    app = request.app
    publisher, catalog = app[BROKER].publisher, app[SUBMITTING].catalog
    state = publisher.state
    failing = {one.loop: one for one in app[LOOPS].failing}
    redis_ok, redis_detail = await _redis(request)
    drain = app[INTAKE].drain
    refusing = drain.started or publisher.draining
    draining = refusing or drain.announced
    why = publisher.tls_error or (failing["publisher"].error if "publisher" in failing else "")
    checks = {
        "rabbitmq": Check(
            state in {"ready", "draining"},
            f"{state}: {hide_secrets(why)}" if why and state != "ready" else state,
        ),
        "topology": Check(publisher.layout.whole, str(publisher.layout)),
        "redis": Check(redis_ok, redis_detail),
        "catalog": Check(
            catalog.refreshed_at is not None,
            f"{len(catalog.tasks)} tasks" if catalog.looked else "not read yet",
        ),
        "loops": Check(
            not failing,
            ", ".join(failing) or "well",
            [
                FailingLoop(one.loop, rfc3339(one.since), hide_secrets(one.error))
                for one in failing.values()
            ],
        ),
        "draining": Check(not draining, "yes" if refusing else "soon" if draining else "no"),
    }
    if draining:
        return _json(503, Readiness("draining", checks))
    # Before the catalog is read no arguments are checked; while Redis is away that is reported.
    known = checks["catalog"].ok or (catalog.looked and (catalog.redis_answers or not redis_ok))
    if not (checks["rabbitmq"].ok and publisher.layout.usable and known):
        return _json(503, Readiness("unavailable", checks))
    well = redis_ok and not failing and checks["topology"].ok
    return _json(200, Readiness("ok" if well else "degraded", checks))


async def metrics(request: web.Request) -> web.Response:
    """Prometheus' text format 0.0.4; needs `admin` unless METRICS_PUBLIC is set."""
    if not request.app[CONFIG].metrics_public:
        require(request, "admin")
    return web.Response(
        body=await request.app[FRONT].metrics.exposition(),
        headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
    )


async def _redis(request: web.Request) -> tuple[bool, str]:
    redis = request.app[REDIS].within(_PROBE_TIMEOUT_S)
    try:
        await redis.probe()
    except RedisAwayError as error:
        return False, hide_secrets(error.told)
    return True, "answers"


def _json(status: int, body: Health | Readiness) -> web.Response:
    headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
    if status == 503:
        headers["Retry-After"] = str(RETRY_AFTER_S)
    return web.Response(status=status, body=msgspec.json.encode(body), headers=headers)
