"""One tenant floods, another goes on: in flight at RabbitMQ, and in memory."""

import asyncio
import json
from hashlib import sha256
from io import BytesIO
from typing import Any

import pytest
from aiohttp.test_utils import TestClient

from devstack.proxy import Direction
from gateway.api import parts
from gateway.rabbitmq.publisher import Publisher
from tests.support.waiting import eventually

ADD = {"task": "demo.add", "args": [1, 2]}
LINE = json.dumps(ADD).encode() + b"\n"
NDJSON = {"Content-Type": "application/x-ndjson"}
JSON = {"Content-Type": "application/json"}
DOCUMENT = json.dumps({"pad": "x" * 1000}).encode() + b"\n"


def key_of(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {name}"}


@pytest.fixture
def keys_file(tmp_path):
    path = tmp_path / "tenants.toml"
    path.write_text(
        "".join(
            f'[[key]]\nname = "{name}"\nsha256 = "{sha256(name.encode()).hexdigest()}"\n'
            'scopes = ["submit", "ingest"]\n'
            for name in ("flood", "other")
        )
    )
    return path


def in_flight(publisher: Publisher, tenant: str) -> int:
    """Messages of a tenant that wait for their confirms."""
    holding = publisher._window.shares._holdings.get(tenant)
    return holding.count if holding else 0


async def submits(
    client: TestClient[Any, Any], name: str, count: int
) -> list[tuple[int, str | None]]:
    """Status and code of so many submits at the same time."""

    async def one() -> tuple[int, str | None]:
        response = await client.post("/v1/tasks", json=ADD, headers=key_of(name))
        return response.status, (await response.json()).get("code")

    return await asyncio.gather(*(one() for _ in range(count)))


@pytest.mark.parametrize("flood", ["bulk", "ingest", "submits"])
async def test_a_flood_before_a_stalled_broker_leaves_room_for_others(
    make_gateway, keys_file, proxy, amqp_url, flood
):
    gateway = await make_gateway(
        keys_file=keys_file,
        amqp_url=proxy.url_through(amqp_url),
        max_inflight_messages=40,
        max_inflight_bytes=4 << 20,
        confirm_timeout_s=8.0,
    )
    publisher = gateway.app[parts.BROKER].publisher
    proxy.stall(Direction.TO_CLIENT)
    flooding = [
        asyncio.create_task(
            gateway.post(
                "/v1/tasks/bulk", data=BytesIO(LINE * 500), headers=key_of("flood") | NDJSON
            )
            if flood == "bulk"
            else gateway.post(
                "/v1/ingest/a", data=BytesIO(DOCUMENT * 20_000), headers=key_of("flood") | NDJSON
            )
            if flood == "ingest"
            else submits(gateway, "flood", 60)
        )
        for _ in range(1 if flood == "bulk" else 4)
    ]
    await eventually(
        lambda: publisher.inflight_messages >= 20 or publisher.inflight_bytes >= 2 << 20
    )
    others = asyncio.create_task(submits(gateway, "other", 8))
    streamed = asyncio.create_task(
        gateway.post("/v1/tasks/bulk", data=BytesIO(LINE), headers=key_of("other") | NDJSON)
    )
    await eventually(lambda: in_flight(publisher, "other") == 9)
    assert not others.done()  # written, and none refused
    refused = await submits(gateway, "flood", 1) if flood == "submits" else [(503, "overloaded")]
    proxy.resume()

    assert refused == [(503, "overloaded")]
    assert set(await others) == {(202, None)}
    assert json.loads((await (await streamed).read()).splitlines()[-1]) == {
        "summary": {"accepted": 1, "rejected": 0}
    }
    await asyncio.gather(*flooding)
    await eventually(lambda: publisher.inflight_messages == 0)
    assert not publisher._window.shares._holdings


async def test_submits_go_on_while_another_tenant_ingests_without_pause(make_gateway, keys_file):
    gateway = await make_gateway(keys_file=keys_file)
    flooding = [
        asyncio.create_task(
            gateway.post(
                "/v1/ingest/a", data=BytesIO(DOCUMENT * 30_000), headers=key_of("flood") | NDJSON
            )
        )
        for _ in range(3)
    ]
    answered = 0
    while not all(task.done() for task in flooding):
        assert await submits(gateway, "other", 1) == [(202, None)]
        answered += 1

    assert [(await task).status for task in flooding] == [202] * 3
    # A turn of the loop is at most some milliseconds of somebody else's work.
    assert answered >= 5


async def test_bodies_held_in_memory_are_bounded_and_shared(make_gateway, keys_file):
    gateway = await make_gateway(keys_file=keys_file, max_body_bytes_held=2 << 20)
    held = gateway.app[parts.INTAKE].held
    head = (
        "POST /v1/tasks/bulk HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        "Authorization: Bearer flood\r\nContent-Length: 60000000\r\n\r\n["
    )
    element = LINE.strip() + b","
    _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    sent = element * ((2 << 20) // len(element) - 2000)
    writer.write(head.encode() + sent)
    await eventually(lambda: held.total >= len(sent))

    async def array(name: str, count: int) -> tuple[int, str | None]:
        body = b"[" + element * count + LINE + b"]"
        response = await gateway.post(
            "/v1/tasks/bulk?outcomes=none", data=BytesIO(body), headers=key_of(name) | JSON
        )
        told = await response.json()
        return response.status, told["code"] if isinstance(told, dict) else None

    assert await array("flood", 10_000) == (503, "overloaded")
    assert await array("other", 4000) == (202, None)
    writer.transport.abort()
    await eventually(lambda: held.total == 0)
    assert await array("flood", 10_000) == (202, None)
    assert held.total == 0
