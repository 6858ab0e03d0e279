"""The query server: an aiohttp application for gateways, behind one secret.

`/healthz`, `/readyz` and `/metrics` need no secret: they name no task.
"""

import hmac
from collections.abc import Awaitable, Callable

import orjson
from aiohttp import web

from history.config import HistoryConfig
from history.database import Database
from history.faults import answering_faults
from history.keys import CONFIG, DATABASE
from history.queries.routes import ROUTES

_OPEN = frozenset({"/healthz", "/readyz", "/metrics"})
MAX_BODY_BYTES = 16 * 1024 * 1024


def make_app(config: HistoryConfig, database: Database) -> web.Application:
    """Return the application with the routes of the queries.

    Args:
        config: whose secret every query must show.
        database: what the handlers ask; who makes it closes it.
    """
    app = web.Application(
        middlewares=[_authorized(config.secret), answering_faults], client_max_size=MAX_BODY_BYTES
    )
    app[CONFIG] = config
    app[DATABASE] = database
    app.router.add_routes(ROUTES)
    return app


def _authorized(secret: str) -> Callable[..., Awaitable[web.StreamResponse]]:
    expected = f"Bearer {secret}".encode()

    @web.middleware
    async def check(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if secret and request.path not in _OPEN:
            shown = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
            if not hmac.compare_digest(shown, expected):
                return web.Response(
                    status=401,
                    body=orjson.dumps({"code": "unauthorized"}),
                    content_type="application/json",
                )
        return await handler(request)

    return check
