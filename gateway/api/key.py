"""GET /v1/key: what the key of a request may do, for pages that show only that."""

import msgspec
from aiohttp import web

from gateway.access.auth import require
from gateway.api.operation import Content, Operation, answer


class KeyShown(msgspec.Struct):
    """A key, without itself."""

    name: str
    """`anonymous` where no key is configured."""
    tenant: str
    scopes: list[str]
    """`admin` includes all others."""


KEY = Operation(
    summary="What the key may do.",
    tag="Operations",
    scope="read",
    answers={
        200: answer(
            "Its name, tenant and scopes.",
            Content(KeyShown, {"name": "ops", "tenant": "ops", "scopes": ["admin"]}),
        )
    },
)


def routes() -> list[web.RouteDef]:
    """Return the routes of this noun."""
    return [web.get("/v1/key", key, operation=KEY)]


async def key(request: web.Request) -> web.Response:
    """The caller, as its key is configured now."""
    caller = require(request, "read")
    body = msgspec.json.encode(KeyShown(caller.name, caller.tenant, sorted(caller.scopes)))
    headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
    return web.Response(body=body, headers=headers)
