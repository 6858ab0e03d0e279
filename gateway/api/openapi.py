"""The API described: for machines at /openapi.json, for people at /docs."""

import orjson
from aiohttp import web

from gateway.api.description.docs_page import page
from gateway.api.description.openapi import document
from gateway.http.traits import OPEN
from penstock import VERSION

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"


def routes() -> list[web.RouteDef]:
    """The routes of this noun; each body is made once, when it is first asked for."""
    bodies: dict[str, bytes] = {}

    def body(request: web.Request, kind: str) -> bytes:
        if kind not in bodies:
            described = document(served(request.app), VERSION)
            bodies["json"] = orjson.dumps(described)
            bodies["html"] = page(described).encode()
        return bodies[kind]

    async def openapi(request: web.Request) -> web.Response:
        """The OpenAPI 3.1 document."""
        return web.Response(
            body=body(request, "json"), headers={"Content-Type": "application/json"}
        )

    async def docs(request: web.Request) -> web.Response:
        """The same as a page, from this gateway alone."""
        return web.Response(
            body=body(request, "html"),
            headers={
                "Content-Type": "text/html; charset=utf-8",
                "Content-Security-Policy": _POLICY,
                "X-Content-Type-Options": "nosniff",
            },
        )

    return [
        web.get("/openapi.json", openapi, traits=(OPEN,)),
        web.get("/docs", docs, traits=(OPEN,)),
    ]


def served(app: web.Application) -> set[tuple[str, str]]:
    """(method, path template) of every route, but for HEAD, which goes with GET."""
    return {
        (route.method, route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
