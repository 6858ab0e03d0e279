"""What is special about a route, as the middleware asks it.

Asked by the handler that the router chose, never by the text of a path: a path can be written in
many ways, and only the router knows which of them lead to a route. Only where there is no such
handler, for a method that a path does not take, the text decides whether 405 or 401 says so.
"""

from typing import Any, Final

from aiohttp import web

from gateway.errors import Queued, invalid_request

OPEN: Final = "open"
"""Served without a key."""
TICKET: Final = "ticket"
"""A `?ticket=` may stand in place of a key; the handler checks it."""
ANY_HOST: Final = "any-host"
"""Served whatever the `Host` says: for health checks, which name what they like."""
IDEMPOTENT: Final = "idempotent"
"""Takes `Idempotency-Key`."""
BODILESS: Final = "bodiless"
"""Takes nothing in its body."""


_NONE: Final = frozenset[str]()


class RouteTraits:
    """The traits of every route."""

    def __init__(self) -> None:
        self._by_handler: dict[Any, frozenset[str]] = {}
        self._by_path: dict[str, frozenset[str]] = {}
        self._queries: dict[Any, frozenset[str]] = {}

    def __repr__(self) -> str:
        """Count the routes, and those that have traits."""
        special = sum(map(bool, self._by_handler.values()))
        return f"<RouteTraits {len(self._by_handler)} routes, {special} with traits>"

    def take(
        self, route: web.RouteDef, traits: frozenset[str], query: frozenset[str] | None
    ) -> None:
        """Take what a route says of itself.

        Args:
            route: The route.
            traits: Of those above.
            query: Names of the query parameters that it knows; None: it takes any.
        """
        self._by_handler[route.handler] = traits
        self._by_path[route.path] = self._by_path.get(route.path, _NONE) | traits
        if query is not None:
            self._queries[route.handler] = query

    def of(self, request: web.Request) -> frozenset[str]:
        """Return the traits of the route that serves the request."""
        found = request.match_info
        traits = self._by_handler.get(found.handler)
        if traits is not None:
            return traits
        wrong_method = found.http_exception is not None and found.http_exception.status == 405
        return self._by_path.get(request.path, _NONE) if wrong_method else _NONE

    def check_query(self, request: web.Request, queued: Queued | None) -> None:
        """Refuse a query parameter that the route would ignore: the client counts on it.

        One that is unknown, and the second of two of a name.

        Args:
            request: A request with a query.
            queued: What the refusal says of a message.

        Raises:
            Problem: `invalid-request`.
        """
        known = self._queries.get(request.match_info.handler)
        if known is None:
            return
        for name in request.query:
            if name not in known:
                names = ", ".join(sorted(known)) or "none"
                raise invalid_request(
                    f"?{name}", f"Unknown parameter; this path takes {names}", queued=queued
                )
            if len(request.query.getall(name)) > 1:
                raise invalid_request(f"?{name}", "Given twice", queued=queued)
