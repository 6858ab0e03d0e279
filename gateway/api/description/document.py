"""The OpenAPI 3.1 document of an application: what its routes say of themselves. Pure."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final

from gateway.api.description.problem import Problem
from gateway.api.description.schemas import schemas_of
from gateway.api.operation import IDEMPOTENCY, JSON_BODY, Answer, Content, Operation, Served
from gateway.decoding.choices import Schema
from gateway.errors import REFUSALS

PROBLEM_JSON: Final = "application/problem+json"
_PARAMETER: Final = re.compile(r"\{(\w+)")
_EVERY: Final = (
    "invalid-request", "forbidden-origin", "unsupported-media-type", "internal-error",
)  # fmt: skip
"""The first for a header that is not taken there: `Idempotency-Key`, `Expect`; the third for a body
that names no media type, wanted or not."""
_BY_HOST: Final = ("unknown-host",)
_WITH_KEY: Final = ("unauthenticated", "forbidden", "rate-limited")
_CHANGING: Final = ("draining",)
_TEXT: Final[Schema] = {"type": "string"}
_PATHS: Final[Mapping[str, Schema]] = {
    "name": _TEXT | {"maxLength": 200, "pattern": r"^[^\x00-\x1f\x7f/:][^\x00-\x1f\x7f/]*$"},
}
"""Parameters of paths that are not any text."""
_IDEMPOTENCY_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    "description": "The same key and request within 24 h gives the first answer again, in its 202 "
    "form.",
}
_INTRODUCTION: Final = (
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


def document(routes: tuple[Served, ...], version: str) -> dict[str, Any]:
    """Describe the routes that are served.

    Args:
        routes: In the order of the document.
        version: Of the software.
    """
    kinds = [
        Problem,
        *(kind for route in routes for one in _contents(route.operation) for kind in one.kinds),
    ]
    schemas, components = schemas_of(kinds)
    writer = _Writer(dict(zip(map(repr, kinds), schemas, strict=True)))
    paths: dict[str, dict[str, Any]] = defaultdict(dict)
    for route in routes:
        paths[route.path][route.method.lower()] = writer.operation(route)
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
            "schemas": components,
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer"},
                "ticket": {"type": "apiKey", "in": "query", "name": "ticket"},
            },
        },
    }


def _contents(operation: Operation) -> Iterable[Content]:
    yield from operation.body
    for answer in operation.answers.values():
        yield from answer.contents


class _Writer:
    """Writes operations.

    Args:
        schemas: Schema of each type, by its `repr`: types of lists are no keys.
    """

    def __init__(self, schemas: Mapping[str, Schema]) -> None:
        self._schemas = schemas

    def operation(self, route: Served) -> dict[str, Any]:
        """Return the description of one route."""
        operation = route.operation
        words = re.sub(r"[^a-z0-9]+", "-", f"{route.method} {route.path}".lower()).strip("-")
        told: dict[str, Any] = {
            "operationId": words,
            "summary": operation.summary,
            "tags": [operation.tag],
            "responses": self._responses(route.method, operation),
        }
        if operation.scope is None:
            told["security"] = []
        else:
            told["security"] = [{"key": []}, *([{"ticket": []}] if operation.tickets else [])]
            told["description"] = f"Needs the scope `{operation.scope}`."
        if parameters := _parameters(route):
            told["parameters"] = parameters
        if operation.body:
            told["requestBody"] = {
                "required": operation.body_required,
                "content": self._content(operation.body),
            }
        return told

    def _responses(self, method: str, operation: Operation) -> dict[str, Any]:
        responses: dict[str, Any] = {
            str(status): self._answer(status, answer)
            for status, answer in operation.answers.items()
        }
        by_status: dict[int, list[str]] = defaultdict(list)
        for code in dict.fromkeys(_codes(method, operation)):
            by_status[REFUSALS[code][0]].append(code)
        for status, codes in sorted(by_status.items()):
            text = "; ".join(f"`{code}`: {REFUSALS[code][1]}" for code in codes)
            refusal = self._answer(status, Answer(text, (Content(Problem, media=PROBLEM_JSON),)))
            known = responses.setdefault(str(status), refusal)
            if known is not refusal:
                known["description"] += f" Or {text}"
                known["content"] = {**known.get("content", {}), **refusal["content"]}
        return responses

    def _answer(self, status: int, answer: Answer) -> dict[str, Any]:
        text = {"schema": {"type": "string"}}
        headers: dict[str, Any] = {} if status == 101 else {"X-Request-Id": text}
        if status in {207, 429, 503}:
            headers["Retry-After"] = {"schema": {"type": "integer", "minimum": 1}}
        told = {"description": answer.words, "headers": headers}
        return told | ({"content": self._content(answer.contents)} if answer.contents else {})

    def _content(self, contents: Iterable[Content]) -> dict[str, Any]:
        told: dict[str, Any] = {}
        for one in contents:
            schemas = [self._schemas[repr(kind)] for kind in one.kinds]
            told[one.media] = {"schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas}}
            if one.example is not None:
                told[one.media]["example"] = one.example
        return told


def _parameters(route: Served) -> list[dict[str, Any]]:
    operation = route.operation
    return [
        *(
            {"name": name, "in": "path", "required": True, "schema": _PATHS.get(name, _TEXT)}
            for name in _PARAMETER.findall(route.path)
        ),
        *(
            {"name": one.name, "in": "query", "schema": one.schema, "description": one.words}
            for one in operation.query
        ),
        *((_IDEMPOTENCY_KEY,) if operation.idempotent else ()),
        *(
            {"name": name, "in": "header", "schema": _TEXT, "description": words}
            for name, words in (operation.headers or {}).items()
        ),
    ]


def _codes(method: str, operation: Operation) -> tuple[str, ...]:
    """Every code that a request may be refused with."""
    return (
        *operation.refusals,
        *(IDEMPOTENCY if operation.idempotent else ()),
        *_EVERY,
        *(() if operation.any_host else _BY_HOST),
        *(() if operation.scope is None else _WITH_KEY),
        *(() if method in {"GET", "HEAD"} else _CHANGING),
        *(() if method in {"GET", "HEAD"} or operation.body else JSON_BODY),
    )
