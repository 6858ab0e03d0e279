"""The OpenAPI document against the application that serves it."""

import re
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest

from gateway.api import parts
from gateway.app import make_app
from gateway.errors import REFUSALS
from tests.deployment.gateway import NOWHERE, running_gateway


@pytest.fixture
async def document() -> Any:
    gateway = running_gateway()
    async with gateway as client, client.get("/openapi.json") as answer:
        assert answer.status == 200
        return await answer.json()


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*(references(one) for one in value.values()))
    if isinstance(value, list):
        return set().union(*(references(one) for one in value))
    return set()


async def test_every_route_served_is_in_the_document_and_no_other(document):
    told = {(m.upper(), path) for path, methods in document["paths"].items() for m in methods}

    routes = {
        (route.method, route.resource.canonical)
        for route in make_app(NOWHERE).router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    assert told == {pair for pair in routes if not pair[1].startswith("/static/")}


async def test_the_document_is_openapi_3_1_whose_references_resolve(document):
    assert document["openapi"] == "3.1.0"
    schemas = document["components"]["schemas"]
    for reference in references(document):
        assert reference.startswith("#/components/schemas/")
        assert reference.rpartition("/")[2] in schemas
    ids = [one["operationId"] for methods in document["paths"].values() for one in methods.values()]
    assert len(ids) == len(set(ids))
    for path, methods in document["paths"].items():
        for operation in methods.values():
            named = {one["name"] for one in operation.get("parameters", ()) if one["in"] == "path"}
            assert named == set(re.findall(r"\{(\w+)\}", path))


async def test_request_bodies_are_described_by_what_validates_them(document):
    options = document["components"]["schemas"]["Options"]

    assert options["additionalProperties"] is False
    priority = options["properties"]["priority"]
    assert (priority["type"], priority["minimum"], priority["maximum"]) == (
        ["integer", "null"],
        0,
        9,
    )
    assert {"queue", "countdown", "eta", "expires", "headers"} <= options["properties"].keys()


def texts(value: Any) -> Iterator[str]:
    """Yield every description and summary."""
    if isinstance(value, dict):
        yield from (str(value[word]) for word in ("description", "summary") if word in value)
    for one in value.values() if isinstance(value, dict) else value:
        if isinstance(one, dict | list):
            yield from texts(one)


def schemas(value: Any) -> Iterator[Any]:
    """Yield every schema that a program makes a class of, or a member."""
    named = value.items() if isinstance(value, dict) else enumerate(value)
    for name, one in named:
        if isinstance(one, dict | list) and name not in {"if", "else", "not", "example"}:
            yield from schemas(one)
    for word in ("schema", "items", "additionalProperties"):
        if isinstance(value, dict) and isinstance(value.get(word), dict):
            yield value[word]
    for word in ("schemas", "properties", "anyOf", "oneOf", "allOf"):
        if isinstance(value, dict) and word in value:
            yield from value[word].values() if isinstance(value[word], dict) else value[word]


def faults(schema: Any) -> Iterator[str]:
    """Yield what OpenAPI Generator or openapi-python-client make nothing of that compiles."""
    kind, choices = schema.get("type"), schema.get("anyOf", [])
    if "array" in (kind or ()) and "items" not in schema:
        yield "an array without items"
    if "const" in schema:
        yield "const"
    if "oneOf" in schema or (choices and "properties" in schema):
        yield "oneOf, or choices beside properties: see gateway.decoding.choices"
    if {"type": "null"} in schema.get("properties", {}).values():
        yield "a property that is null"
    kinds = [one.get("type") for one in choices if "enum" not in one]
    if len(choices) == len(kinds) == 2 and "null" in kinds and None not in kinds:
        yield "a type or null: a list of types says it"
    if "array" in kinds:
        yield "a list among choices"
    if "default" in schema and (not isinstance(kind, str) or kind in {"array", "object"}):
        yield "a default that is no literal of one type"


async def test_nothing_in_the_document_breaks_the_clients_that_programs_write_from_it(document):
    spoilt = [(fault, one) for one in schemas(document) for fault in faults(one)]
    bodies = [
        content["schema"]
        for methods in document["paths"].values()
        for operation in methods.values()
        for content in operation.get("requestBody", {}).get("content", {}).values()
    ]

    assert not spoilt
    assert not [body for body in bodies if "anyOf" in body]
    assert not [text for text in texts(document) if "*/" in text]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            words = re.findall(r"\w+", f"{method} {path}".lower().replace("_", " "))
            assert operation["operationId"].split("-") == words


async def test_open_paths_need_no_key_and_others_do(document):
    for each in make_app(NOWHERE)[parts.OPERATIONS]:
        told = document["paths"][each.path][each.method.lower()]
        assert bool(told["security"]) is (each.operation.scope is not None), each.path
        assert ("401" in told["responses"]) is (each.operation.scope is not None), each.path


def test_every_refusal_named_is_one_that_exists():
    for each in make_app(NOWHERE)[parts.OPERATIONS]:
        assert set(each.operation.refusals) <= REFUSALS.keys(), each.path


async def test_refusals_that_pass_carry_retry_after_in_the_description(document):
    responses = document["paths"]["/v1/tasks"]["post"]["responses"]

    assert "Retry-After" in responses["429"]["headers"]
    assert "`queue-full`" in responses["429"]["description"]
    assert "`rate-limited`" in responses["429"]["description"]
    assert "504" in responses


async def test_a_body_where_none_is_taken_may_be_too_large(document):
    for methods in document["paths"].values():
        for method, operation in methods.items():
            assert method == "get" or "413" in operation["responses"], operation["operationId"]


async def test_the_page_shows_every_operation_and_loads_nothing(document):
    async with running_gateway() as client, client.get("/docs") as answer:
        text = await answer.text()
        assert answer.content_type == "text/html"
        policy = answer.headers["Content-Security-Policy"]

    for path in document["paths"]:
        assert f"<code>{path}</code>" in text
    assert "<script" not in text
    assert not re.search(r'(?:src|href)="(?!/openapi.json|/?#)', text)
    assert "default-src 'none'" in policy


def contents(document: Any) -> Any:
    """Yield where it stands, and each content with an example."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            for place in (operation.get("requestBody", {}), *operation["responses"].values()):
                for media, content in place.get("content", {}).items():
                    if "example" in content:
                        yield f"{method} {path} {media}", content


async def test_every_example_fits_its_schema(document):
    found = list(contents(document))
    for where, content in found:
        schema = {**content["schema"], "components": document["components"]}
        errors = list(jsonschema_rs.validator_for(schema).iter_errors(content["example"]))
        assert not errors, (where, errors)

    assert len(found) > 40


async def test_every_json_body_and_answer_has_an_example(document):
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            body = operation.get("requestBody", {}).get("content", {})
            assert all("example" in one for one in body.values()), (method, path)
            answers = [
                one
                for status, answer in operation["responses"].items()
                if status < "300"
                for media, one in answer.get("content", {}).items()
                if media == "application/json"
            ]
            if path != "/openapi.json":
                assert all("example" in one for one in answers), (method, path)


async def test_fields_are_described_by_the_docstrings_under_them(document):
    schemas = document["components"]["schemas"]

    assert "Excludes `exchange`" in schemas["Options"]["properties"]["queue"]["description"]
    assert schemas["Receipt"]["properties"]["state"] == {
        "type": "string",
        "enum": ["PENDING"],
        "description": "Absent where the task is not tracked.",
    }
    assert schemas["Ingested"]["properties"]["stored"]["type"] == ["integer", "null"]
