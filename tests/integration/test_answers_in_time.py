"""What is submitted while RabbitMQ takes everything and confirms nothing is answered in time."""

import asyncio
import json
from collections import Counter
from io import BytesIO
from typing import Any

import pytest

from devstack.proxy import Direction
from gateway.submitting.bulk import MAX_INFLIGHT
from tests.integration.test_bulk_request import GOOD, NDJSON, depth, lines_of

PROMISED_S = 6.0
TRAVEL_S = 3.0
"""For a body, its answer and a busy machine; what is mended here took from 4 s more on."""
JSON = {"Content-Type": "application/json"}
FOREIGN = {"task": "demo.of_an_app"}
"""A pattern names it and no worker announces it."""


async def outcomes(gateway: Any, body: bytes, kind: dict[str, str]) -> tuple[float, list[Any]]:
    """How long the answer of a bulk request took, and its outcomes."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with gateway.post("/v1/tasks/bulk?outcomes=all", data=body, headers=kind) as answer:
        text = await answer.text()
        assert answer.status == 207, text
    return loop.time() - began, json.loads(text) if kind is JSON else lines_of(text)


@pytest.mark.parametrize("kind", [JSON, NDJSON], ids=["array", "stream"])
async def test_more_tasks_than_may_wait_for_a_confirm(make_gateway, proxy, amqp_url, kind):
    gateway = await make_gateway(amqp_url=proxy.url_through(amqp_url))
    proxy.stall(Direction.TO_CLIENT)
    lines = [GOOD] * (MAX_INFLIGHT + 900)
    body = b"[%b]" % b",".join(lines) if kind is JSON else b"\n".join(lines)
    took_s, told = await outcomes(gateway, body, kind)

    assert took_s < PROMISED_S + TRAVEL_S
    ends = Counter(one.get("queued") for one in told if "line" in one)
    assert ends["no"] >= 900
    assert ends.total() == len(lines)
    assert await depth(amqp_url) == ends["unknown"]  # what was refused was not written


async def test_an_array_that_is_confirmed_steadily_is_published_to_its_end(make_gateway):
    gateway = await make_gateway(confirm_timeout_s=2.0)
    body = BytesIO(b"[%b]" % b",".join([GOOD] * 60_000))
    async with gateway.post("/v1/tasks/bulk?outcomes=none", data=body, headers=JSON) as answer:
        assert answer.status == 202


@pytest.mark.parametrize(
    ("path", "body"), [("tasks", FOREIGN), ("canvas", {"group": [FOREIGN] * 20})]
)
async def test_tasks_of_which_nothing_is_known(make_gateway, proxy, amqp_url, path, body):
    gateway = await make_gateway(amqp_url=proxy.url_through(amqp_url))
    proxy.stall(Direction.TO_CLIENT)
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with gateway.post(f"/v1/{path}", json=body) as answer:
        problem = await answer.json()

    assert answer.status == 504, problem
    assert loop.time() - began < PROMISED_S + TRAVEL_S
