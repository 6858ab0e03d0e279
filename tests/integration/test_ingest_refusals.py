"""Ingest when RabbitMQ refuses, stalls or goes away, and when the client does."""

import asyncio
import hashlib
import io
import json
import random
import time
from collections.abc import AsyncIterator

import aio_pika
import pytest
from redis.asyncio import from_url

from devstack.proxy import Direction
from gateway.api import parts
from gateway.config import Quotas
from gateway.ingesting.filling import MAX_BATCH_BYTES
from gateway.ingesting.ingestion import HELD_BYTES
from penstock.wire.kept_results import usage_key
from tests.support.waiting import eventually

NDJSON = {"Content-Type": "application/x-ndjson"}
LINE = json.dumps({"n": 1, "pad": "x" * 986}).encode() + b"\n"


async def stored(amqp_url: str) -> int:
    """Documents in the queue, taking them out."""
    connection = await aio_pika.connect(amqp_url)
    async with connection:
        channel = await connection.channel(publisher_confirms=False)
        source = await channel.get_queue("mongo_queue")
        count = 0
        while (message := await source.get(fail=False)) is not None:
            await message.ack()
            count += len(json.loads(message.body)[0][1])
        return count


@pytest.fixture
async def proxied(make_gateway, amqp_url, proxy):
    """A gateway whose broker can be stalled and cut."""
    return await make_gateway(amqp_url=proxy.url_through(amqp_url), confirm_timeout_s=1.5)


def layout(tmp_path, **queue: object):
    file = tmp_path / "layout.toml"
    fields = "\n".join(f"{name} = {value}" for name, value in queue.items())
    file.write_text(
        '[exchanges.events]\ntype = "topic"\npublishable = true\n[queues.mongo_queue]\n'
        f'{fields}\nbindings = [{{ exchange = "events", key = "documents.some" }}]\n'
    )
    return file


async def test_a_stream_is_refused_while_the_broker_is_away(proxied, proxy):
    proxy.cut(refuse=True)
    await eventually(lambda: proxied.app[parts.BROKER].publisher.state == "disconnected")
    response = await proxied.post("/v1/ingest/a", data=LINE * 10, headers=NDJSON)
    problem = await response.json()

    assert (response.status, problem["code"], problem["queued"]) == (
        503,
        "broker-unavailable",
        "no",
    )
    assert response.headers["Retry-After"]


async def test_a_stream_without_confirms_is_unknown_in_time(proxied, proxy):
    proxy.stall(Direction.TO_CLIENT)
    started = asyncio.get_running_loop().time()
    response = await proxied.post("/v1/ingest/a", data=io.BytesIO(LINE * 20_000), headers=NDJSON)
    problem = await response.json()

    assert (response.status, problem["code"], problem["queued"]) == (504, "unconfirmed", "unknown")
    assert problem["accepted"] == 0
    assert problem["unknown"] + problem["refused"] <= 20_000
    assert asyncio.get_running_loop().time() - started < 6


@pytest.mark.bare_vhost
async def test_a_queue_at_its_limit_ends_a_request_behind_a_prefix(
    make_gateway, amqp_url, tmp_path
):
    gateway = await make_gateway(topology_file=layout(tmp_path, limit=1))
    response = await gateway.post(
        "/v1/ingest/some?ids=all",
        data=io.BytesIO(b'{"n":1}\n' * 50_000),
        headers=NDJSON,
    )
    answer = await response.json()

    assert response.status == 207
    assert answer["unknown"] == 0
    assert answer["refused"] > 0
    assert answer["problem"]["code"] == "queue-full"
    assert response.headers["Retry-After"]
    assert len(answer["ids"]) == answer["accepted"] == await stored(amqp_url)


@pytest.mark.bare_vhost
async def test_a_full_queue_is_refused_before_anything_is_read(make_gateway, amqp_url, tmp_path):
    gateway = await make_gateway(topology_file=layout(tmp_path, limit=2))
    for _ in range(3):
        await gateway.post("/v1/ingest/some", json={})
    await eventually(lambda: gateway.app[parts.BROKER].depths.full("mongo_queue"))
    response = await gateway.post("/v1/ingest/some", json={})

    assert (response.status, (await response.json())["code"]) == (429, "queue-full")
    assert response.headers["Retry-After"]


@pytest.mark.bare_vhost
@pytest.mark.parametrize("behind_a_prefix", [False, True])
async def test_a_queue_that_becomes_full_ends_an_open_stream(
    make_gateway, amqp_url, tmp_path, behind_a_prefix
):
    gateway = await make_gateway(topology_file=layout(tmp_path, limit=5))  # RabbitMQ's is 50
    begin, singles = (LINE * 9000, 0) if behind_a_prefix else (LINE, 6)

    async def body() -> AsyncIterator[bytes]:
        yield begin
        for _ in range(singles):
            assert (await gateway.post("/v1/ingest/some", json={})).status == 202
        await eventually(lambda: gateway.app[parts.BROKER].depths.full("mongo_queue"), 10)
        yield LINE * 9000

    response = await gateway.post("/v1/ingest/some", data=body(), headers=NDJSON)
    answer = await response.json()

    assert answer["accepted"] == await stored(amqp_url) - singles
    assert answer["unknown"] == 0
    assert answer["refused"] > 0
    if behind_a_prefix:
        assert response.status == 207
        assert HELD_BYTES < answer["accepted"] * len(LINE) <= len(begin)
        assert answer["problem"]["code"] == "queue-full"
        assert "limit of 5 messages" in answer["problem"]["detail"]
        assert len(answer["ids"]) == answer["accepted"]
        assert response.headers["Retry-After"]
    else:
        assert (response.status, answer["code"], answer["queued"]) == (429, "queue-full", "no")
        assert answer["accepted"] == 0
        assert response.headers["Retry-After"]


async def test_a_quota_that_is_used_up_ends_an_open_stream(make_gateway, amqp_url, redis_url):
    gateway = await make_gateway(quotas=Quotas(result_bytes=1000))
    kept, publisher = gateway.app[parts.ACCESS].kept_results, gateway.app[parts.BROKER].publisher
    sent = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent
        for sent in range(9000, 60_000, 1000):
            yield LINE * (9000 if sent == 9000 else 1000)
            await eventually(lambda: not publisher.inflight_messages)
            await kept.look()  # forgets who has submitted
            if sent == 9000:
                async with from_url(redis_url) as redis:
                    await redis.hset(usage_key("anonymous"), str(int(time.time()) + 3600), 5000)

    response = await gateway.post("/v1/ingest/a", data=body(), headers=NDJSON)
    answer = await response.json()

    assert response.status == 207, answer
    assert answer["problem"]["code"] == "rate-limited"
    assert "quota of 1000 bytes" in answer["problem"]["detail"]
    assert answer["unknown"] == 0
    assert HELD_BYTES < answer["accepted"] * len(LINE) < sent * len(LINE)
    assert len(answer["ids"]) == answer["accepted"] == await stored(amqp_url)


@pytest.mark.bare_vhost
async def test_a_collection_that_no_queue_takes_is_unroutable(make_gateway, tmp_path):
    gateway = await make_gateway(topology_file=layout(tmp_path))
    response = await gateway.post("/v1/ingest/other", json={})
    problem = await response.json()

    assert (response.status, problem["code"], problem["queued"]) == (422, "unroutable", "no")


async def test_keys_are_held_to_their_scope_and_collections(make_gateway, tmp_path):
    keys = tmp_path / "keys.toml"
    digest = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("some", "none")}
    keys.write_text(
        f'[[key]]\nname = "some"\nsha256 = "{digest["some"]}"\nscopes = ["ingest"]\n'
        'collections = ["logs_*"]\n'
        f'[[key]]\nname = "none"\nsha256 = "{digest["none"]}"\nscopes = ["submit"]\n'
    )
    gateway = await make_gateway(keys_file=keys)
    for key, collection, status in (
        ("some", "logs_a", 202), ("some", "other", 403), ("none", "logs_a", 403),
    ):  # fmt: skip
        response = await gateway.post(
            f"/v1/ingest/{collection}", json={}, headers={"Authorization": f"Bearer {key}"}
        )
        assert response.status == status


@pytest.mark.parametrize("sent_bytes", [HELD_BYTES // 2, 2 * HELD_BYTES])
async def test_a_client_that_vanishes_leaves_a_prefix(gateway, amqp_url, caplog, sent_bytes):
    lines = sent_bytes // len(LINE)
    _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(
        b"POST /v1/ingest/a HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n"
        b"Content-Length: 1000000000\r\n\r\n"
    )
    writer.write(LINE * lines + LINE[:500])
    await writer.drain()
    publisher, held = gateway.app[parts.BROKER].publisher, gateway.app[parts.INTAKE].held
    if sent_bytes < HELD_BYTES:
        await eventually(lambda: held.total > sent_bytes * 0.8, timeout_s=30)
    else:
        # What is left is the batch that is being filled.
        await eventually(lambda: held.total <= MAX_BATCH_BYTES and publisher.inflight_messages, 30)
    writer.transport.abort()

    await eventually(lambda: held.total == 0 and publisher.inflight_messages == 0, timeout_s=30)
    count = await stored(amqp_url)
    assert count == 0 if sent_bytes < HELD_BYTES else HELD_BYTES < count * len(LINE) < sent_bytes
    assert "internal-error" not in caplog.messages


async def test_a_slow_client_is_told_what_was_accepted(make_gateway, amqp_url):
    gateway = await make_gateway(body_timeout_s=1.0)

    async def body() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield LINE * 1000
        await asyncio.Event().wait()

    response = await gateway.post("/v1/ingest/a", data=body(), headers=NDJSON)
    problem = await response.json()

    assert (response.status, problem["queued"]) == (400, "yes")
    assert problem["accepted"] == await stored(amqp_url) > 8000


async def test_random_cuts_never_lose_a_document_that_was_accepted(proxied, amqp_url, proxy):
    chance = random.Random(5)
    accepted = sent = unknown = 0
    for _ in range(8):
        proxy.resume()
        await eventually(lambda: proxied.app[parts.BROKER].publisher.state == "ready", timeout_s=20)
        proxy.cut_after(chance.randrange(1, 6_000_000), Direction.TO_SERVER)
        count = chance.randrange(1000, 9000)
        sent += count
        response = await proxied.post("/v1/ingest/a", data=io.BytesIO(LINE * count), headers=NDJSON)
        answer = await response.json()
        accepted += answer["accepted"]
        unknown += answer.get("unknown", 0)
    proxy.resume()
    await eventually(lambda: proxied.app[parts.BROKER].publisher.state == "ready", timeout_s=20)

    found = await stored(amqp_url)
    assert accepted <= found <= accepted + unknown
    assert found < sent
