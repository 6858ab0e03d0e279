"""The OpenAPI document against the gateway: its examples, and what schemathesis makes of it."""

import asyncio
import copy
import json
import sys
from pathlib import Path
from typing import Any

import aio_pika
import jsonschema_rs
import pytest

from tests.support.worker_states import announce_silent

SETTINGS = Path(__file__).parent.parent / "schemathesis.toml"
ALL_SCOPES = ["submit", "read", "ingest", "schedule", "admin"]
OPTIONS = (
    "--checks=all",
    # What depends on two values, or on the layout, is told in words: what fits the schema may still
    # be refused.
    "--exclude-checks=positive_data_acceptance",
    "--max-examples=5",
    "--seed=1",
    "--workers=1",  # ast.parse of CPython 3.11 fails now and then when two threads are in it
    "--no-shrink",
    "--continue-on-failure",
    "--request-timeout=15",
    "--exclude-path-regex=stream$",  # tests of their own speak these protocols
    "--generation-database=none",
    "--no-color",
)


@pytest.mark.timeout(900)  # half a minute on two quiet cores
@pytest.mark.parametrize("phase", ["coverage", pytest.param("fuzzing", marks=pytest.mark.long)])
async def test_every_answer_that_schemathesis_gets_is_documented(
    make_gateway, make_keys_file, history, tmp_path, phase
):
    gateway = await make_gateway(keys_file=make_keys_file(ALL_SCOPES), **history.fields)
    program = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "schemathesis.cli",
        f"--config-file={SETTINGS}",
        "run",
        str(gateway.make_url("/openapi.json")),
        f"--phases={phase}",
        *OPTIONS,
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        told, _ = await program.communicate()
    finally:
        if program.returncode is None:
            program.kill()
            await program.wait()

    assert program.returncode == 0, told.decode()


ORDER = ("put", "post", "get", "delete")
"""What is read or deleted has been made before."""
BY_OTHERS = {"/v1/stream", "/v1/tasks/{id}/stream", "/openapi.json", "/v1/operations/{id}"}
"""Protocols with tests of their own; a document of any form; what only a purge makes."""
ALSO: tuple[tuple[str, Any], ...] = (
    ("/v1/tasks/bulk", [{"task": "demo.add"}, {"task": "no.such"}, {"task": "demo.add", "x": 1}]),
    ("/v1/ingest/orders?on_error=skip", [{"a": 1}, {"$a": 1}]),
    ("/v1/ingest/orders?ack=stored&wait=0", [{"a": 1}]),
    ("/v1/tasks/status", {"ids": ["no-id-of-ours"]}),
    ("/v1/topology/route", {"task": "demo.add"}),
    ("/v1/canvas", {"chain": [{"task": "demo.add"}, {"group": [{"task": "demo.add"}]}]}),
)
"""Answers of other forms than those to the examples."""


def closed(components: Any) -> Any:
    """Return the same schemas, whose objects have no further properties than those described."""
    components = copy.deepcopy(components)
    for schema in components["schemas"].values():
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)
    return components


class Described:
    """A gateway held to its own description."""

    def __init__(self, client: Any, document: Any) -> None:
        self.client = client
        self.document = document
        self.components = closed(document["components"])
        self.checked = 0

    async def ask(self, method: str, template: str, url: str, content: Any = None) -> Any:
        """Send a request; its answer is one of those described, and has the form described."""
        body, media = content if content is not None else (None, None)
        data = body if isinstance(body, str) or body is None else json.dumps(body)
        headers = {} if media is None else {"Content-Type": media}
        async with self.client.request(method, url, data=data, headers=headers) as answer:
            text = await answer.text()
            assert answer.status < 300, (method, url, text)
            described = self.document["paths"][template][method]["responses"][str(answer.status)]
            if not text:
                assert "content" not in described
                return None
            schema = described["content"][answer.content_type]["schema"]
            if answer.content_type != "application/json":
                return text
            validator = jsonschema_rs.validator_for({**schema, "components": self.components})
            errors = list(validator.iter_errors(json.loads(text)))
            assert not errors, (method, url, text, errors)
            self.checked += 1
            return json.loads(text)


async def test_every_example_is_taken_and_answered_as_described(
    make_gateway, history, amqp_url, redis_url
):
    gateway = await make_gateway(**history.fields)
    announce_silent("nightly", redis_url)
    connection = await aio_pika.connect(amqp_url)
    async with connection, gateway.get("/openapi.json") as answer:
        channel = await connection.channel()
        worker = await channel.declare_queue(exclusive=True)  # one that hears broadcasts
        await worker.bind("broadcast")
        described = Described(gateway, await answer.json())
        paths = described.document["paths"]
        example = paths["/v1/tasks"]["post"]["requestBody"]["content"]["application/json"]
        sent = (example["example"], "application/json")
        task = await described.ask("post", "/v1/tasks", "/v1/tasks", sent)
        grouped = ({"group": [{"task": "demo.add"}]}, "application/json")
        group = await described.ask("post", "/v1/canvas", "/v1/canvas", grouped)
        values = {"collection": "orders", "name": "nightly", "queue": "default"}
        operations = [(m, p, o) for p, methods in paths.items() for m, o in methods.items()]
        for method, path, operation in sorted(operations, key=lambda one: ORDER.index(one[0])):
            if path in BY_OTHERS:
                continue
            id_ = group["id"] if path.startswith("/v1/groups") else task["id"]
            named = values | ({"name": "default"} if path.startswith("/v1/queues/") else {})
            url = path.format(id=id_, **named)
            for media, content in operation.get("requestBody", {}).get("content", {}).items():
                await described.ask(method, path, url, (content["example"], media))
            if "requestBody" not in operation:
                await described.ask(method, path, url)
        for url, body in ALSO:
            template = url.partition("?")[0].replace("orders", "{collection}")
            await described.ask("post", template, url, (body, "application/json"))

    assert described.checked > 30
