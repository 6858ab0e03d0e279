"""Bodies of queries, read; answers, written. A body of another form is 400 `bad-query`."""

from collections.abc import Awaitable, Callable, Mapping
from functools import wraps
from typing import Any, Final

import orjson
from aiohttp import web

from history.faults import problem
from penstock.wire.history_queries import Where

QUERY_MS: Final = 2500
"""Longest time of one query in MongoDB; less than gateways wait."""

Handler = Callable[[web.Request], Awaitable[web.Response]]


def sound(handler: Handler) -> Handler:
    """Have a handler answer 400 where it raises ValueError."""

    @wraps(handler)
    async def handle(request: web.Request) -> web.Response:
        try:
            return await handler(request)
        except ValueError as error:
            return problem(400, "bad-query", str(error)[:500])

    return handle


async def asked(request: web.Request) -> dict[str, Any]:
    """Return the body of a query.

    Raises:
        ValueError: It is no JSON object.
    """
    body = orjson.loads(await request.read())
    if not isinstance(body, dict):
        raise ValueError("the body is no object")  # noqa: TRY004  # of what was sent, not of a call
    return body


def answered(value: Any) -> web.Response:
    """Return an answer of JSON."""
    body = orjson.dumps(value, default=str)
    return web.Response(body=body, content_type="application/json")


def text_of(body: Mapping[str, Any], name: str, *, optional: bool = False) -> str:
    """Return a member that is text.

    Raises:
        ValueError: It is not.
    """
    value = body.get(name)
    if value is None and optional:
        return ""
    if not isinstance(value, str) or not (value or optional):
        raise ValueError(f"{name} is no text")
    return value


def number_of(body: Mapping[str, Any], name: str, low: int, high: int) -> int:
    """Return a member that is a whole number within bounds.

    Raises:
        ValueError: It is not.
    """
    value = body.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{name} is no whole number from {low} to {high}")
    return value


def optional_number_of(body: Mapping[str, Any], name: str, low: int, high: int) -> int | None:
    """Return the same, or None where there is no such member.

    Raises:
        ValueError: It is something else.
    """
    return None if body.get(name) is None else number_of(body, name, low, high)


def tenant_of(body: Mapping[str, Any]) -> str | None:
    """Return whose tasks are meant; None: everybody's. It must be said.

    Raises:
        ValueError: It is not.
    """
    if "tenant" not in body:
        raise ValueError("tenant is missing")
    return None if body["tenant"] is None else text_of(body, "tenant")


def where_of(body: Mapping[str, Any]) -> Where:
    """Return the filter of a query.

    Raises:
        ValueError: It is none.
    """
    where = body.get("where")
    if not isinstance(where, dict):
        raise ValueError("where is no object")  # noqa: TRY004  # as above
    return Where.from_json(where)
