"""What is special about a route: each noun says it where it defines the route.

    web.get("/healthz", healthz, traits=(OPEN, ANY_HOST))

Asked by the handler that the router chose, never by the text of a path: a path can be written in
many ways, and only the router knows which of them lead to a route. Only where there is no such
handler, for a method that a path does not take, the text decides whether 405 or 401 says so.
"""

from collections import defaultdict
from typing import Any, Final

from aiohttp import web

OPEN: Final = "open"
"""Served without a key."""
TICKET: Final = "ticket"
"""A `?ticket=` may stand in place of a key; the handler checks it."""
ANY_HOST: Final = "any-host"
"""Served whatever the `Host` says: for health checks, which name what they like."""
IDEMPOTENT: Final = "idempotent"
"""Takes `Idempotency-Key`."""


class RouteTraits:
    """Which handlers have which trait."""

    def __init__(self) -> None:
        self._handlers: defaultdict[str, set[Any]] = defaultdict(set)
        self._paths: defaultdict[str, set[str]] = defaultdict(set)

    def __repr__(self) -> str:
        """Count the handlers of each trait."""
        counts = ", ".join(f"{len(found)} {trait}" for trait, found in self._handlers.items())
        return f"<RouteTraits {counts}>"

    def take(self, route: web.RouteDef) -> None:
        """Take the traits of a route out of its arguments, before it is registered."""
        for trait in route.kwargs.pop("traits", ()):
            self._handlers[trait].add(route.handler)
            self._paths[trait].add(route.path)

    def has(self, request: web.Request, trait: str) -> bool:
        """Return whether the route that serves the request has the trait."""
        found = request.match_info
        if found.http_exception is None:
            return found.handler in self._handlers[trait]
        return found.http_exception.status == 405 and request.path in self._paths[trait]
