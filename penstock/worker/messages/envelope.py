"""What of a message may become an attribute of a request: the protocol's names, with their types.

Celery merges all headers, and all options of the body, into the attributes of the task's context,
so that a header `_children` or `called_directly` replaces what Celery keeps there. Here the names
of protocol 2 are taken out and checked; every other header goes into `headers`, as data, and
becomes an attribute only where neither Celery nor this library can have one of its name:
instrumentation finds its context there (`request.traceparent`, `request.get("foo")`).
"""

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from celery.app.task import Context
from celery.app.trace import prepare_accept_content
from celery.exceptions import InvalidTaskError
from celery.worker.request import Request
from kombu.serialization import loads

from penstock.wire.reserved_names import RESERVED_NAMES

MAX_SIGNATURE_DEPTH = 200
"""Signatures inside signatures; Celery builds them by recursion."""
LONGEST_S = 10 * 365 * 86_400
"""Of a time limit."""


def _is_text(value: Any) -> bool:
    return value is None or (isinstance(value, str) and _is_encodable(value))


def _is_encodable(text: str) -> bool:
    """Tell whether it is UTF-8: py-amqp lets surrogates through, Redis and JSON do not."""
    return text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text)


def _is_name(value: Any) -> bool:
    return bool(value) and _is_text(value)


def _is_moment(value: Any) -> bool:
    return value is None or _is_name(value)


def _is_count(value: Any) -> bool:
    return value is None or (type(value) is int and value >= 0)


def _is_flag(value: Any) -> bool:
    return value is None or isinstance(value, bool)


def _are_limits(value: Any) -> bool:
    return value is None or (
        isinstance(value, list | tuple)
        and len(value) == 2
        and all(one is None or _is_limit(one) for one in value)
    )


def _is_limit(value: Any) -> bool:
    return type(value) in {int, float} and math.isfinite(value) and 0 <= value <= LONGEST_S


def _are_names(value: Any) -> bool:
    return value is None or (
        isinstance(value, list | tuple)
        and all(_is_name(one) and one not in _EXECUTION_OPTIONS for one in value)
    )


def _is_table(value: Any) -> bool:
    return value is None or isinstance(value, dict)


_EXECUTION_OPTIONS = frozenset(Context().as_execution_options())
"""A retry takes stamps for options of the next attempt (`Context.as_execution_options`)."""

_Check = Callable[[Any], bool]
PROTOCOL: Mapping[str, tuple[_Check, str]] = MappingProxyType(
    {
        "lang": (_is_text, "text"),
        "task": (_is_name, "text"),
        "id": (_is_name, "text"),
        "shadow": (_is_text, "text"),
        "eta": (_is_moment, "a time in ISO 8601"),
        "expires": (_is_moment, "a time in ISO 8601"),
        "group": (_is_text, "text"),
        "group_index": (_is_count, "a number from 0"),
        "retries": (_is_count, "a number from 0"),
        "timelimit": (_are_limits, "[hard, soft] in seconds"),
        "root_id": (_is_text, "text"),
        "parent_id": (_is_text, "text"),
        "argsrepr": (_is_text, "text"),
        "kwargsrepr": (_is_text, "text"),
        "origin": (_is_text, "text"),
        "ignore_result": (_is_flag, "true or false"),
        "replaced_task_nesting": (_is_count, "a number from 0"),
        "stamped_headers": (_are_names, "a list of names that are no options"),
        "stamps": (_is_table, "an object"),
    }
)
"""The headers of `celery.app.amqp.AMQP.as_task_v2`; each may be absent but `task` and `id`."""

_REQUIRED = frozenset(("task", "id"))

_SCALARS = frozenset((str, int, float, bool, type(None)))

_DEFAULTS: Mapping[str, int] = MappingProxyType({"retries": 0, "replaced_task_nesting": 0})
"""Celery counts with them."""

_TRANSPORT = frozenset(("compression",))
"""True of the bytes of this message, not of one that is made of it."""

OWN_ATTRIBUTES = frozenset(("begun", "buried", "ended_by_hand", "started_at", "trace_id"))
"""What this library keeps on a request."""


@lru_cache(maxsize=1024)
def may_be_attribute(name: str) -> bool:
    """Tell whether a header of this name may be an attribute of a request, too."""
    plain = name.lower().replace("-", "_")
    return not (
        hasattr(Context, name)
        or hasattr(Request, name)
        or plain in RESERVED_NAMES
        or plain in OWN_ATTRIBUTES
        or plain.startswith("x_penstock")
        or (plain.startswith("_") and not plain.startswith("__"))  # Celery's are single
    )


def request_headers(headers: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return what Celery may make attributes of: the protocol's headers, and `headers`.

    Args:
        headers: of the protocol; in protocol 1 they come out of the body.
        own: all headers of the message.

    Raises:
        InvalidTaskError: the protocol's headers have other types than Celery writes.
    """
    found: dict[str, Any] = {}
    for name, value in headers.items():
        known = PROTOCOL.get(name) if isinstance(name, str) else None
        if known is None:
            continue
        if value is None and name not in _REQUIRED:
            found[name] = _DEFAULTS.get(name)
        elif known[0](value):
            found[name] = value
        else:
            raise InvalidTaskError(f"the header {name} must be {known[1]}, not {value!r:.200}")
    for name in _REQUIRED:
        if name not in found:
            raise InvalidTaskError(f"the header {name} must be text, not None")
    others = {
        name: value if type(value) in _SCALARS else _plain(value)
        for name, value in own.items()
        if name not in PROTOCOL and name not in _TRANSPORT and _is_name(name)
    }
    if others:
        found |= {name: value for name, value in others.items() if may_be_attribute(name)}
    # Never None: Celery would make them again, of everything that it finds.
    found["headers"] = others
    return found


def _plain(value: Any) -> Any:
    """Return a value of an AMQP table as one that another process can be handed."""
    match value:
        case memoryview() | bytearray():
            return bytes(value)
        case list() | tuple():
            return [_plain(one) for one in value]
        case dict():
            return {
                key if isinstance(key, str) else repr(bytes(key)): _plain(one)
                for key, one in value.items()
            }
    return value


def is_delivery(args: Any) -> bool:
    """Return whether a pool is to execute a delivery; an application may give it other work, too.

    Args:
        args: of what the pool calls; Celery's tracer takes name and id of a task, the request, and
            the body.
    """
    name, _, request = [*(args or ()), None, None, None][:3]
    return isinstance(name, str) and isinstance(request, dict) and "delivery_info" in request


def parts_of(app: Any, body: Any, content_type: Any, content_encoding: Any) -> dict[str, Any]:
    """Return what Celery's tracer adds to a request: its arguments, and what follows it.

    Args:
        app: whose settings say what may be decoded.
        body: of the message, as Celery's request has it.
        content_type: of the body; None: it is decoded.
        content_encoding: of the body.

    Raises:
        Exception: it cannot be decoded, or may not be.
    """
    if content_type:
        accept = prepare_accept_content(app.conf.accept_content)
        body = loads(body, content_type, content_encoding, accept=accept)
    args, kwargs, embed = body
    return {"args": args, "kwargs": kwargs, "is_eager": False, **(embed or {})}


def body_parts(body: Any) -> list[Any]:
    """Return arguments, keyword arguments and what follows the task, checked.

    Args:
        body: decoded.

    Raises:
        InvalidTaskError: it is not `[[…], {…}, {…}]`, or what follows are no signatures.
        TypeError, ValueError: it has no three parts.
    """
    args, kwargs, embed = body
    if not (
        isinstance(args, list | tuple)
        and isinstance(kwargs, dict)
        and (embed is None or isinstance(embed, dict))
    ):
        raise InvalidTaskError("the body must be [[…], {…}, {…}]")
    given = embed or {}
    follow = {name: given.get(name) for name in ("callbacks", "errbacks", "chain", "chord")}
    for name, value in follow.items():
        if value is not None:
            _check_signatures(name, value)
    return [args, kwargs, follow]


def _check_signatures(name: str, value: Any) -> None:
    many = name != "chord"
    if many != isinstance(value, list | tuple):
        raise InvalidTaskError(
            f"{name} must be {'a list of signatures' if many else 'a signature'}"
        )
    waiting = [(one, 0) for one in (value if many else [value])]
    while waiting:
        one, depth = waiting.pop()
        if not _is_signature(one) or depth > MAX_SIGNATURE_DEPTH:
            raise InvalidTaskError(f"{name} has {one!r:.200} in it, which is no signature")
        waiting += [(inner, depth + 1) for inner in _inside(one)]


def _is_signature(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and _is_name(value.get("task"))
        and isinstance(value.get("args") or [], list | tuple)
        and isinstance(value.get("kwargs") or {}, dict)
        and isinstance(options := value.get("options") or {}, dict)
        and _is_text(value.get("subtask_type"))
        and _is_text(options.get("task_id"))
        and _is_text(options.get("group_id"))
        and _is_table(options.get("headers"))
    )


def _inside(signature: Mapping[str, Any]) -> list[Any]:
    kwargs, options = signature.get("kwargs") or {}, signature.get("options") or {}
    found: list[Any] = []
    parts = [options.get("link"), options.get("link_error"), options.get("chord")]
    match signature.get("subtask_type"):
        case "chain" | "group":
            parts.append(kwargs.get("tasks"))
        case "chord":
            parts += [kwargs.get("header"), kwargs.get("body")]
    for part in parts:
        if isinstance(part, list | tuple):
            found += part
        elif part is not None:
            found.append(part)
    return found


_OF_SIGNATURES = frozenset(("task", "args", "kwargs"))
_OF_OPTIONS = frozenset(
    ("chord", "root_id", "parent_id", "group_index", "headers", "ignore_result", "reply_to")
)


def signature_context(signature: Mapping[str, Any]) -> Context:
    """Return the context of a task that will not be published, as result backends want it."""
    options = signature.get("options") or {}
    return Context(
        {name: value for name, value in signature.items() if name in _OF_SIGNATURES}
        | {name: value for name, value in options.items() if name in _OF_OPTIONS},
        id=options.get("task_id"),
        group=options.get("group_id"),
    )
