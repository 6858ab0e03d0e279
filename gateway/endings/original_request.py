"""What a task was asked with that the broker ended, for history: the message as it came. Pure."""

from collections.abc import Mapping
from typing import Any

import orjson

from gateway.rabbitmq.consumer import Delivery
from penstock.wire.headers import CALLBACK_HEADER, TENANT_HEADER, UNKEPT_HEADER, is_reserved
from penstock.wire.keys import MAX_REQUEST_BYTES


def request_as_sent(message: Delivery, queue: str) -> bytes:
    """Return it as JSON, as workers write it but for `body`; empty: it must not be kept.

    Args:
        message: A dead letter; anything may be in it.
        queue: Where it died; empty: not known.
    """
    headers = message.headers
    if headers.get(UNKEPT_HEADER):
        return b""
    found: dict[str, Any] = {"id": headers.get("id"), "task": headers.get("task")}
    try:
        if len(message.body) > MAX_REQUEST_BYTES:
            return orjson.dumps({**found, "too_large": True})
        found |= {"body": message.body.decode(), "options": _options(message, queue)}
        found["tenant"] = headers.get(TENANT_HEADER)
        return orjson.dumps({name: one for name, one in found.items() if one is not None})
    except (TypeError, ValueError):  # it is no message of a task that could be published again
        return b""


def _options(message: Delivery, queue: str) -> dict[str, Any]:
    headers, limits = message.headers, message.headers.get("timelimit")
    hard_s, soft_s = limits if isinstance(limits, list) and len(limits) == 2 else (None, None)
    found = {
        "queue": queue,
        "priority": message.properties.priority or None,  # kombu writes 0 where a client says none
        "time_limit": hard_s,
        "soft_time_limit": soft_s,
        "callback_url": headers.get(CALLBACK_HEADER),
        "headers": _clients(headers),
    }
    return {name: value for name, value in found.items() if value not in (None, "", {})}


def _clients(headers: Mapping[str, Any]) -> dict[str, Any]:
    """The headers that a client gave: what is neither Celery's nor ours."""
    return {
        name: value
        for name, value in headers.items()
        if not is_reserved(name) and isinstance(value, str | bool | int | float)
    }
