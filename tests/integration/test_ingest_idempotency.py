"""The same documents twice under one idempotency key are published once."""

import asyncio
import io
import json
from typing import Any

import aio_pika

from devstack.proxy import Direction, TcpProxy
from gateway.api import parts
from tests.support.waiting import eventually

NDJSON = {"Content-Type": "application/x-ndjson", "Idempotency-Key": "k1"}
BODY = b"".join(b'{"n":%d}\n' % n for n in range(2500))


async def messages(amqp_url: str) -> list[tuple[str, str, list[dict[str, Any]]]]:
    """(task id, copy, documents) of each message, taking them out."""
    connection = await aio_pika.connect(amqp_url)
    async with connection:
        channel = await connection.channel(publisher_confirms=False)
        source = await channel.get_queue("mongo_queue")
        found = []
        while (message := await source.get(fail=False)) is not None:
            await message.ack()
            copy = str(message.headers.get("x-penstock-copy"))
            found.append((str(message.headers["id"]), copy, json.loads(message.body)[0][1]))
        return found


async def test_a_repeat_gets_the_first_answer_and_publishes_nothing(gateway, amqp_url):
    first = await gateway.post("/v1/ingest/a", data=BODY, headers=NDJSON)
    again = await gateway.post("/v1/ingest/a", data=BODY, headers=NDJSON)

    assert (first.status, again.status) == (202, 202)
    assert await first.json() == await again.json()
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    found = await messages(amqp_url)
    assert [task_id for task_id, _, _ in found] == (await first.json())["batches"]
    assert sum(len(documents) for _, _, documents in found) == 2500
    assert len({doc["_id"] for _, _, documents in found for doc in documents}) == 2500


async def test_single_documents_and_bad_ones_take_keys_too(gateway, amqp_url):
    key = {"Idempotency-Key": "k2"}
    bad = await gateway.post("/v1/ingest/a", json={"$n": 1}, headers=key)
    first, again = [await gateway.post("/v1/ingest/a", json={"n": 1}, headers=key) for _ in "12"]
    other = await gateway.post("/v1/ingest/a", json={"n": 2}, headers=key)

    assert [bad.status, first.status, again.status] == [422, 202, 202]
    assert await first.json() == await again.json()
    assert (other.status, (await other.json())["code"]) == (422, "idempotency-key-reused")
    assert len(await messages(amqp_url)) == 1


async def test_a_body_over_8_mib_takes_no_key(gateway):
    response = await gateway.post("/v1/ingest/a", data=io.BytesIO(BODY * 400), headers=NDJSON)

    assert (response.status, (await response.json())["code"]) == (400, "invalid-request")


async def test_a_retry_of_an_unknown_outcome_repeats_ids_and_documents(
    make_gateway, amqp_url, rabbit
):
    async with TcpProxy(rabbit.port) as proxy:
        gateway = await make_gateway(amqp_url=proxy.url_through(amqp_url), confirm_timeout_s=1.0)
        proxy.stall(Direction.TO_CLIENT)
        lost = await gateway.post("/v1/ingest/a", data=BODY, headers=NDJSON)
        proxy.resume()
        await eventually(lambda: gateway.app[parts.BROKER].publisher.inflight_messages == 0)
        found = await gateway.post("/v1/ingest/a", data=BODY, headers=NDJSON)

        assert (lost.status, (await lost.json())["queued"]) == (504, "unknown")
        assert (found.status, (await found.json())["accepted"]) == (202, 2500)
    copies = await messages(amqp_url)
    assert len(copies) == 6
    for (id_1, copy_1, documents_1), (id_2, copy_2, documents_2) in zip(
        copies[:3], copies[3:], strict=True
    ):
        assert (id_1, documents_1) == (id_2, documents_2)
        assert copy_1 != copy_2


async def test_two_at_once_publish_once(gateway, amqp_url):
    answers = await asyncio.gather(
        *(gateway.post("/v1/ingest/a", data=BODY, headers=NDJSON) for _ in range(5))
    )

    assert {answer.status for answer in answers} <= {202, 409}
    assert 202 in {answer.status for answer in answers}
    assert len(await messages(amqp_url)) == 3
