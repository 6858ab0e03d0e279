"""The API described: for machines at /openapi.json, for people at /docs."""

from typing import Any

import orjson
from aiohttp import web

from gateway.api.description.document import document
from gateway.api.description.page import page
from gateway.api.operation import Content, Operation, answer
from gateway.api.parts import OPERATIONS
from penstock import VERSION

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"
OPENAPI = Operation(
    summary="This description.",
    tag="Operations",
    scope=None,
    answers={200: answer("OpenAPI 3.1.", Content(dict[str, Any]))},
)
DOCS = Operation(
    summary="This description as a page.",
    tag="Operations",
    scope=None,
    answers={200: answer("HTML, from this gateway alone.", Content(str, media="text/html"))},
)


def routes() -> list[web.RouteDef]:
    """Return the routes of this noun; each body is made once, when it is first asked for."""
    bodies: dict[str, bytes] = {}

    def body(request: web.Request, kind: str) -> bytes:
        if kind not in bodies:
            described = document(request.app[OPERATIONS], VERSION)
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
        web.get("/openapi.json", openapi, operation=OPENAPI),
        web.get("/docs", docs, operation=DOCS),
    ]
