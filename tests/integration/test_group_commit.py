"""Single documents that arrive together share batches; each request still gets its own truth."""

import asyncio
import hashlib
import json
from typing import Any

import aio_pika

from devstack.proxy import Direction
from gateway.api import parts
from tests.support.waiting import eventually


async def batches(amqp_url: str) -> dict[str, list[dict[str, Any]]]:
    """Documents by task id, taking the messages out."""
    connection = await aio_pika.connect(amqp_url)
    async with connection:
        channel = await connection.channel(publisher_confirms=False)
        source = await channel.get_queue("mongo_queue")
        found = {}
        while (message := await source.get(fail=False)) is not None:
            await message.ack()
            found[str(message.message_id)] = json.loads(message.body)[0][1]
        return found


async def post(gateway, document, collection: str = "a", **options: Any) -> tuple[int, Any]:
    response = await gateway.post(f"/v1/ingest/{collection}", json=document, **options)
    return response.status, await response.json()


async def test_requests_that_arrive_together_share_batches(gateway, amqp_url):
    answers = await asyncio.gather(*(post(gateway, {"n": n}) for n in range(300)))

    found = await batches(amqp_url)
    assert len(found) < 150
    for n, (status, receipt) in enumerate(answers):
        [task_id], [document_id] = receipt["batches"], receipt["ids"]
        assert status == 202
        assert {"_id": document_id, "n": n} in found[task_id]
    assert sum(map(len, found.values())) == 300


async def test_an_idle_gateway_sends_at_once_and_alone(gateway, amqp_url):
    for n in range(5):
        await post(gateway, {"n": n})

    assert [len(documents) for documents in (await batches(amqp_url)).values()] == [1] * 5
    assert gateway.app[parts.INGESTING].documents.group_commit._groups == {}


async def test_collections_and_tenants_share_no_batch(make_gateway, amqp_url, tmp_path):
    keys = tmp_path / "keys.toml"
    keys.write_text(
        "".join(
            f'[[key]]\nname = "{name}"\nsha256 = "{hashlib.sha256(name.encode()).hexdigest()}"\n'
            'scopes = ["ingest"]\n'
            for name in ("one", "two")
        )
    )
    gateway = await make_gateway(keys_file=keys)
    answers = await asyncio.gather(
        *(
            post(
                gateway,
                {"from": tenant + name},
                name,
                headers={"Authorization": f"Bearer {tenant}"},
            )
            for _ in range(50)
            for tenant in ("one", "two")
            for name in ("a", "b")
        )
    )

    assert {status for status, _ in answers} == {202}
    found = await batches(amqp_url)
    assert all(len({doc["from"] for doc in documents}) == 1 for documents in found.values())


async def test_a_bad_document_costs_no_other(gateway, amqp_url):
    answers = await asyncio.gather(
        *(post(gateway, {"n": n} if n % 10 else {"$n": n}) for n in range(100))
    )

    assert [status for status, _ in answers] == [202 if n % 10 else 422 for n in range(100)]
    assert sum(map(len, (await batches(amqp_url)).values())) == 90


async def test_a_batch_holds_at_most_4_mib(gateway, amqp_url):
    await asyncio.gather(*(post(gateway, {"pad": "x" * 200_000}) for _ in range(60)))

    found = await batches(amqp_url)
    sizes = [len(json.dumps(documents)) for documents in found.values()]
    assert max(sizes) <= (4 << 20) + 100
    assert sum(map(len, found.values())) == 60


async def test_every_request_of_an_unconfirmed_batch_is_told_unknown(make_gateway, amqp_url, proxy):
    gateway = await make_gateway(amqp_url=proxy.url_through(amqp_url), confirm_timeout_s=1.0)
    proxy.stall(Direction.TO_CLIENT)
    answers = await asyncio.gather(*(post(gateway, {"n": n}) for n in range(50)))
    proxy.resume()

    told = {(status, problem["code"], problem["queued"]) for status, problem in answers}
    assert (504, "unconfirmed", "unknown") in told
    # What a slow machine sends only when the connection has been given up is not queued.
    assert told <= {(504, "unconfirmed", "unknown"), (503, "broker-unavailable", "no")}
    await eventually(lambda: gateway.app[parts.INGESTING].documents.group_commit._groups == {})


async def test_every_request_is_refused_while_the_broker_is_away(make_gateway, amqp_url, proxy):
    gateway = await make_gateway(amqp_url=proxy.url_through(amqp_url))
    proxy.cut(refuse=True)
    await eventually(lambda: gateway.app[parts.BROKER].publisher.state == "disconnected")
    answers = await asyncio.gather(*(post(gateway, {"n": n}) for n in range(20)))
    proxy.resume()

    assert {status for status, _ in answers} == {503}
    assert {(problem["code"], problem["queued"]) for _, problem in answers} == {
        ("broker-unavailable", "no")
    }
    assert gateway.app[parts.INGESTING].documents.group_commit._groups == {}
