"""The OpenAPI 3.1 document of an application: the table joined with its router. Pure."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from gateway.api.description.api_operations import OPERATIONS, Operation
from gateway.api.description.api_schemas import TEXT, components, ref
from gateway.errors import REFUSALS

PROBLEM_JSON = "application/problem+json"
_PARAMETER = re.compile(r"\{(\w+)")
_EVERY = ("invalid-request", "forbidden-origin", "unsupported-media-type", "internal-error")
"""The first for a header that is not taken there: `Idempotency-Key`, `Expect`; the third for a body
that names no media type, wanted or not."""
_FOR_ANY_HOST = frozenset({"/healthz", "/readyz"})
_BY_HOST = ("unknown-host",)
_PATH = {"name": TEXT | {"maxLength": 200, "pattern": r"^[^\x00-\x1f\x7f/:][^\x00-\x1f\x7f/]*$"}}
"""Parameters of paths that are not any text."""
_WITH_KEY = ("unauthenticated", "forbidden", "rate-limited")
_CHANGING = ("draining",)
_INTRODUCTION = (
    "HTTP front door of a Celery deployment. A 202 is a receipt: RabbitMQ confirmed the message. "
    "Every refusal says in `queued` whether a message may be in a queue. Request bodies name "
    "their media type. Unknown members and query parameters are refused. Without keys, only "
    "requests to loopback names and `ALLOWED_HOSTS` are served; pages of other origins than the "
    "gateway's own and `ALLOWED_ORIGINS` are refused. The `rate` of a key counts work: a task 1, "
    "an ingest batch 1, a stream opened or a subscription 1, a read 1, a refused line 1. A "
    "request begins while the bucket is positive and may take it into debt; NDJSON is read more "
    "slowly instead of refused. JSON is data: an object arrives in tasks, results and MongoDB as "
    "it was sent, whatever it looks like to a decoder of Celery."
)


def document(routes: Iterable[tuple[str, str]], version: str) -> dict[str, Any]:
    """The description of the routes that are served.

    Args:
        routes: (method, path template) of each.
        version: Of the software.
    """
    served = set(routes)
    paths: dict[str, dict[str, Any]] = defaultdict(dict)
    for (method, path), operation in OPERATIONS.items():
        if (method, path) in served:
            paths[path][method.lower()] = _operation(method, path, operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Penstock",
            "version": version,
            "description": _INTRODUCTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": dict(paths),
        "components": {
            "schemas": components(),
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer"},
                "ticket": {"type": "apiKey", "in": "query", "name": "ticket"},
            },
        },
    }


def undescribed(routes: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    """Routes that are served and stand in no description."""
    return {
        (method, path)
        for method, path in routes
        if (method, path) not in OPERATIONS and not path.startswith("/static/")
    }


def query_parameters(method: str, path: str) -> frozenset[str] | None:
    """Names of the query parameters of a route of `/v1`; of the other routes None, which take any.

    Args:
        method: HTTP's.
        path: Its template, without regular expressions.
    """
    operation = OPERATIONS.get((method, path)) if path.startswith("/v1/") else None
    if operation is None:
        return None
    return frozenset((*operation.query, *(("ticket",) if operation.tickets else ())))


def _operation(method: str, path: str, operation: Operation) -> dict[str, Any]:
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": _PATH.get(name, TEXT)}
        for name in _PARAMETER.findall(path)
    ]
    for place, given in (("query", operation.query), ("header", operation.headers)):
        parameters += [
            {"name": name, "in": place, "schema": schema, "description": text}
            for name, (schema, text) in given.items()
        ]
    words = re.sub(r"[^a-z]+", "-", f"{method} {path}".lower()).strip("-")
    hosts = () if path in _FOR_ANY_HOST else _BY_HOST
    told: dict[str, Any] = {
        "operationId": words,
        "summary": operation.summary,
        "tags": [operation.tag],
        "responses": _responses(method, operation, hosts),
    }
    if operation.scope is None:
        told["security"] = []
    else:
        told["security"] = [{"key": []}, *([{"ticket": []}] if operation.tickets else [])]
        told["description"] = f"Needs the scope `{operation.scope}`."
    if parameters:
        told["parameters"] = parameters
    if operation.body is not None:
        told["requestBody"] = {
            "required": operation.body_required,
            "content": _content(operation.body),
        }
    return told


def _responses(method: str, operation: Operation, hosts: tuple[str, ...]) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status, (text, content) in operation.answers.items():
        responses[str(status)] = {"description": text, "headers": _headers(status)}
        if content:
            responses[str(status)]["content"] = _content(content)
    codes = (
        *operation.refusals,
        *_EVERY,
        *hosts,
        *(_WITH_KEY if operation.scope is not None else ()),
        *(() if method in {"GET", "HEAD"} else _CHANGING),
    )
    by_status: dict[int, list[str]] = defaultdict(list)
    for code in dict.fromkeys(codes):
        by_status[REFUSALS[code][0]].append(code)
    for status, group in sorted(by_status.items()):
        text = "; ".join(f"`{code}`: {REFUSALS[code][1]}" for code in group)
        problem = {PROBLEM_JSON: {"schema": ref("Problem")}}
        known = responses.get(str(status))
        if known is None:
            responses[str(status)] = {
                "description": text,
                "headers": _headers(status),
                "content": problem,
            }
        else:
            known["description"] += f" Or {text}"
            known["content"] = {**known.get("content", {}), **problem}
    return responses


def _headers(status: int) -> dict[str, Any]:
    text = {"schema": {"type": "string"}}
    headers: dict[str, Any] = {} if status == 101 else {"X-Request-Id": text}
    if status in {429, 503}:
        headers["Retry-After"] = {"schema": {"type": "integer", "minimum": 1}}
    return headers


def _content(content: Mapping[str, Any]) -> dict[str, Any]:
    return {media: {"schema": schema} for media, schema in content.items()}
