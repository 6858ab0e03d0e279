"""What each request costs of its key's rate, over HTTP, read from the bucket in Redis."""

import json
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import from_url

from gateway.config import GatewayConfig
from tests.deployment.gateway import running_gateway
from tests.support.waiting import eventually

BURST = 100_000
ADD = {"task": "demo.add", "args": [1, 2]}
BAD = {"task": "no.such.task"}
NDJSON = {"Content-Type": "application/x-ndjson"}


def lines(*items: Any) -> bytes:
    return b"".join(json.dumps(item).encode() + b"\n" for item in items)


def documents(count: int) -> list[dict[str, int]]:
    return [{"n": number} for number in range(count)]


def document_lines(count: int) -> bytes:
    return lines(*documents(count))


COSTS: dict[str, tuple[str, str, dict[str, Any], int]] = {
    "a task": ("POST", "/v1/tasks", {"json": ADD}, 1),
    "a refused task": ("POST", "/v1/tasks", {"json": BAD}, 1),
    "an array of tasks": ("POST", "/v1/tasks/bulk", {"json": [ADD] * 40}, 40),
    "an array of refused tasks": ("POST", "/v1/tasks/bulk", {"json": [ADD, BAD, 1] * 10}, 30),
    "an empty array": ("POST", "/v1/tasks/bulk", {"json": []}, 1),
    "a stream of tasks": (
        "POST",
        "/v1/tasks/bulk",
        {"data": lines(*[ADD] * 299, BAD) + b"\n\n  \n", "headers": NDJSON},
        300,
    ),
    "a canvas": (
        "POST",
        "/v1/canvas",
        {"json": {"chord": {"header": [ADD] * 6, "body": {"task": "demo.echo"}}}},
        7,
    ),
    "a refused canvas": ("POST", "/v1/canvas", {"json": {"group": [ADD, BAD, ADD]}}, 3),
    "a document": ("POST", "/v1/ingest/things", {"json": {"n": 1}}, 1),
    "an array of documents": ("POST", "/v1/ingest/things", {"json": documents(2500)}, 3),
    "a stream of documents": (
        "POST",
        "/v1/ingest/things",
        {"data": document_lines(2500), "headers": NDJSON},
        3,
    ),
    "refused documents": (
        "POST",
        "/v1/ingest/things",
        {"data": document_lines(20) + lines(*[1] * 30), "headers": NDJSON},
        30,
    ),
    "skipped documents and a batch": (
        "POST",
        "/v1/ingest/things?on_error=skip",
        {"data": document_lines(20) + lines(*[1] * 30), "headers": NDJSON},
        31,
    ),
    "skipped documents and a batch, by an idempotency key": (
        "POST",
        "/v1/ingest/things?on_error=skip",
        {
            "data": document_lines(1500) + lines(*[1] * 30),
            "headers": {**NDJSON, "Idempotency-Key": "once"},
        },
        32,
    ),
    "states of many tasks": ("POST", "/v1/tasks/status", {"json": {"ids": ["x"] * 30}}, 1),
    "a state": ("GET", "/v1/tasks/nope", {}, 1),
    "an event stream": ("GET", "/v1/tasks/nope/stream", {}, 1),
    "a ticket": ("POST", "/v1/tickets", {}, 1),
    "a schedule": ("GET", "/v1/schedules/nope", {}, 1),
}


@pytest.fixture
async def spender(amqp_url, redis_url, tmp_path: Path):
    """A gateway whose key has a budget that comes back slowly, and what it has spent so far."""
    keys = tmp_path / "keys.toml"
    keys.write_text(
        f'[[key]]\nname = "k"\nsha256 = "{sha256(b"k").hexdigest()}"\n'
        f'scopes = ["submit", "read", "ingest", "schedule"]\nrate = 0.001\nburst = {BURST}\n'
    )
    redis = from_url(redis_url)
    config = GatewayConfig(amqp_url=amqp_url, redis_url=redis_url, keys_file=keys)
    async with running_gateway(config) as client:
        client.session.headers["Authorization"] = "Bearer k"

        async def spent() -> int:
            tokens = await redis.hget("penstock:rate:k", "tokens")
            return BURST - round(float(tokens or BURST))

        yield client, spent
    await redis.aclose()


async def test_each_piece_of_work_costs_one(spender):
    client, spent = spender
    wrong = {}
    for name, (method, path, options, cost) in COSTS.items():
        before = await spent()
        async with client.request(method, path, **options) as answer:
            await answer.read()
        if not await eventually_equal(spent, before + cost):
            wrong[name] = (answer.status, await spent() - before, cost)

    assert not wrong


async def test_a_socket_costs_one_and_each_message_that_asks_for_work(spender):
    client, spent = spender
    async with client.ws_connect("/v1/stream?ids=a,b", protocols=["penstock.v1"]) as socket:
        assert await eventually_equal(spent, 1)
        await socket.send_json({"op": "subscribe", "ids": ["c", "d"]})
        assert await eventually_equal(spent, 2)
        await socket.send_str("not JSON")
        assert await eventually_equal(spent, 3)
        await socket.send_json({"op": "ping"})
        await socket.send_json({"op": "unsubscribe", "ids": ["c"]})
        await socket.send_json({"op": "subscribe", "ids": ["e"]})
        assert await eventually_equal(spent, 4)


async def test_a_stream_by_ticket_costs_the_key_that_made_the_ticket(spender):
    client, spent = spender
    async with client.post("/v1/tickets") as answer:
        ticket = (await answer.json())["ticket"]
    assert await eventually_equal(spent, 1)
    del client.session.headers["Authorization"]
    async with client.get(f"/v1/tasks/nope/stream?ticket={ticket}") as answer:
        await answer.read()
    assert await eventually_equal(spent, 2)
    url = f"/v1/stream?ticket={ticket}"
    async with client.ws_connect(url, protocols=["penstock.v1"]) as socket:
        assert await eventually_equal(spent, 3)
        await socket.send_json({"op": "subscribe", "ids": ["c"]})
        assert await eventually_equal(spent, 4)


async def eventually_equal(spent: Any, wanted: int) -> bool:
    """Whether so much is spent soon, and not more: a debt is paid a moment after its request."""

    async def equal() -> bool:
        return bool(await spent() == wanted)

    try:
        return bool(await eventually(equal, timeout_s=2))
    except AssertionError:
        return False


@pytest.fixture
async def slow(amqp_url, redis_url, tmp_path: Path):
    """A gateway whose key may do 200 pieces of work a second, 20 at once."""
    keys = tmp_path / "keys.toml"
    keys.write_text(
        f'[[key]]\nname = "k"\nsha256 = "{sha256(b"k").hexdigest()}"\n'
        'scopes = ["submit", "read", "ingest"]\nrate = 200\nburst = 20\n'
    )
    config = GatewayConfig(
        amqp_url=amqp_url, redis_url=redis_url, keys_file=keys, body_timeout_s=0.5
    )
    async with running_gateway(config) as client:
        client.session.headers["Authorization"] = "Bearer k"
        yield client


async def test_a_stream_in_debt_is_slowed_and_its_pauses_are_not_the_clients(slow):
    started = time.monotonic()
    body = lines(*[ADD] * 640)
    async with slow.post("/v1/tasks/bulk", data=body, headers=NDJSON) as answer:
        told = [json.loads(line) for line in (await answer.read()).splitlines()]

    assert told == [{"summary": {"accepted": 640, "rejected": 0}}]
    assert time.monotonic() - started >= (512 - 20) / 200  # the last slice is charged at the end


async def test_a_stream_of_refused_documents_is_slowed(slow):
    started = time.monotonic()
    path, body = "/v1/ingest/things?on_error=skip", lines(*[1] * 1600)
    async with slow.post(path, data=body, headers=NDJSON) as answer:
        assert (await answer.json())["rejected_count"] == 1600

    assert time.monotonic() - started >= (1500 - 20) / 200


async def test_an_array_goes_into_debt_at_once_and_the_next_request_waits(slow):
    started = time.monotonic()
    async with slow.post("/v1/tasks/bulk", json=[ADD] * 620) as answer:
        assert answer.status == 202
    async with slow.post("/v1/tasks", json=ADD) as answer:
        problem = await answer.json()

    assert (answer.status, problem["code"], problem["queued"]) == (429, "rate-limited", "no")
    assert answer.headers["Retry-After"] == "3"

    async def admitted() -> bool:
        async with slow.post("/v1/tasks", json=ADD) as again:
            return bool(again.status == 202)

    assert await eventually(admitted, timeout_s=6)
    assert time.monotonic() - started >= 3.0


async def test_a_socket_of_a_key_in_debt_is_told_so(slow):
    async with slow.ws_connect("/v1/stream", protocols=["penstock.v1"]) as socket:
        async with slow.post("/v1/tasks/bulk", json=[ADD] * 400) as answer:
            assert answer.status == 202
        await socket.send_json({"op": "subscribe", "ids": ["c", "d"]})

        told = await socket.receive_json(timeout=5)

    assert (told["type"], told["code"]) == ("error", "rate-limited")
