"""Ends that the broker decided are told on streams and by reads."""

import asyncio
from typing import Any

import aio_pika
import pytest
from celery import Celery
from celery.result import AsyncResult
from kombu.connection import Connection

from gateway.api import parts
from penstock.wire.keys import TaskKeys
from tests.deployment.workers import Deployment
from tests.support.stream_client import Stream
from tests.support.waiting import eventually


@pytest.fixture
def deployment(amqp_url, redis_url, tmp_path):
    return Deployment(amqp_url=amqp_url, redis_url=redis_url, folder=tmp_path)


@pytest.fixture
async def gateway(make_gateway):
    client = await make_gateway()
    await eventually(lambda: client.app[parts.WATCHING].watch.online)
    return client


@pytest.fixture
async def channel(amqp_url):
    async with await aio_pika.connect(amqp_url) as connection:
        yield await connection.channel()


async def waiting(channel):
    queue = await channel.declare_queue("dead.outcomes", passive=True)
    return queue.declaration_result.message_count


async def consumed(channel):
    """Nothing waits and nothing is held: acknowledged, or it would show when the consumer goes."""

    async def empty():
        return await waiting(channel) == 0

    await eventually(empty, 15)


async def submit(client, task, *args, **options):
    body = {"task": task, "args": list(args), "options": options}
    response = await client.post("/v1/tasks", json=body)
    assert response.status == 202, await response.text()
    return (await response.json())["id"]


async def bury(channel, *, queue="default", body=b"{}", **headers):
    exchange = await channel.get_exchange("dead")
    await exchange.publish(aio_pika.Message(body, headers=headers), queue)


async def test_an_expired_task_is_told_as_revoked(gateway, channel):
    task_id = await submit(gateway, "demo.add", 1, 2, expires=1)
    async with gateway.ws_connect(f"/v1/stream?ids={task_id}") as ws:
        pending, revoked = await Stream(ws).take(2, timeout_s=15)
    response = await gateway.get(f"/v1/tasks/{task_id}")
    body = await response.json()

    assert [pending["state"], revoked["state"]] == ["PENDING", "REVOKED"]
    assert body["error"] == {"type": "TaskRevokedError", "message": "expired"}
    assert body["task"] == "demo.add"
    assert body["retries"] == 0
    await consumed(channel)


async def test_a_task_that_cannot_be_decoded_is_told_as_dead_lettered(gateway, channel, deployment):
    task_id = gateway.app[parts.ACCESS].task_ids.issue("anonymous")
    async with deployment.worker("threads"):
        deployment.publish("demo.add", raw=b"no json", task_id=task_id)
        response = await gateway.get(f"/v1/tasks/{task_id}?wait=30")
    body = await response.json()

    assert body["state"] == "FAILURE"
    assert body["error"] == {"type": "DeadLettered", "message": "rejected"}


async def test_a_delayed_task_that_no_queue_takes_is_told(gateway, channel):
    task_id = gateway.app[parts.ACCESS].task_ids.issue("anonymous", delay_s=1)
    exchange = await channel.get_exchange("penstock_delivery")
    await exchange.publish(
        aio_pika.Message(b"{}", headers={"id": task_id, "task": "demo.add"}),
        ".".join("0" * 28) + ".tasks.no_such_queue",
    )
    body = await (await gateway.get(f"/v1/tasks/{task_id}?wait=15")).json()

    assert body["error"] == {"type": "DeadLettered", "message": "unrouted"}


async def test_an_end_that_was_told_stays(gateway, channel, worker):
    task_id = gateway.app[parts.ACCESS].task_ids.issue("anonymous")
    await worker.succeed(task_id, "mine")
    await bury(channel, id=task_id, task="demo.add")
    await consumed(channel)
    await eventually(lambda: gateway.app[parts.ENDINGS].outcomes.consumer.acknowledged >= 1)

    body = await (await gateway.get(f"/v1/tasks/{task_id}")).json()
    assert (body["state"], body["result"]) == ("SUCCESS", "mine")


async def test_an_end_whose_record_expired_is_not_told_again(gateway, channel, worker):
    task_id = gateway.app[parts.ACCESS].task_ids.issue("anonymous")
    await worker.succeed(task_id)
    await worker.client.delete(f"celery-task-meta-{task_id}")
    await bury(channel, id=task_id)
    await eventually(lambda: gateway.app[parts.ENDINGS].outcomes.consumer.acknowledged >= 1)

    assert (await gateway.get(f"/v1/tasks/{task_id}")).status == 410


@pytest.mark.parametrize(("started_copy", "state"), [("one", "STARTED"), ("two", "FAILURE")])
async def test_a_copy_that_dies_does_not_end_the_other_that_runs(
    gateway, channel, worker, started_copy, state
):
    task_id = gateway.app[parts.ACCESS].task_ids.issue("anonymous")
    await worker.start(task_id)
    await worker.client.set(TaskKeys.of(task_id).copy, started_copy)
    await bury(channel, id=task_id, **{"x-penstock-copy": "two"})
    await eventually(lambda: gateway.app[parts.ENDINGS].outcomes.consumer.acknowledged >= 1)

    assert (await (await gateway.get(f"/v1/tasks/{task_id}")).json())["state"] == state


def _bury_octets(amqp_url):
    with Connection(amqp_url) as connection, connection.Producer() as producer:
        producer.publish(b"{}", "default", exchange="dead", headers={"id": b"\xff\xfe"})


async def test_garbage_is_acknowledged_and_what_follows_is_told(gateway, channel, amqp_url):
    for headers in ({}, {"id": 5}, {"id": "x" * 400}, {"id": ["a"]}):
        await bury(channel, body=b"\x00\xff", **headers)
    await asyncio.to_thread(_bury_octets, amqp_url)
    task_id = gateway.app[parts.ACCESS].task_ids.issue("anonymous")
    await bury(channel, id=task_id, task=7, retries="no", **{"x-death": "nonsense"})
    body = await (await gateway.get(f"/v1/tasks/{task_id}?wait=10")).json()

    assert body["state"] == "FAILURE"
    await consumed(channel)


async def test_while_redis_is_away_letters_wait_and_are_told_afterwards(
    gateway, channel, redis_server
):
    ids = [gateway.app[parts.ACCESS].task_ids.issue("anonymous") for _ in range(100)]
    await redis_server.kill()
    for task_id in ids:
        await bury(channel, id=task_id)
    await eventually(lambda: _taken(channel, 100))
    await redis_server.start()
    async with asyncio.timeout(20):
        response = await gateway.post("/v1/tasks/status?wait=15", json={"ids": ids})
        while response.status == 503:  # the notices' connection is not back yet
            response = await gateway.post("/v1/tasks/status?wait=15", json={"ids": ids})
    tasks = (await response.json())["tasks"]

    assert {task["state"] for task in tasks} == {"FAILURE"}
    await consumed(channel)


async def _taken(channel, published):
    return await waiting(channel) < published


async def test_a_lost_broker_connection_is_made_again(gateway, channel, rabbit, amqp_url):
    await bury(channel, id=gateway.app[parts.ACCESS].task_ids.issue("anonymous"))
    await eventually(lambda: gateway.app[parts.ENDINGS].outcomes.consumer.acknowledged == 1, 10)
    await rabbit.restart()

    async def told():
        async with await aio_pika.connect(amqp_url, timeout=5) as connection:
            await bury(await connection.channel(), id=task_id)
        return True

    task_id = gateway.app[parts.ACCESS].task_ids.issue("anonymous")
    await eventually(told, 30)
    body = await (await gateway.get(f"/v1/tasks/{task_id}?wait=30")).json()
    assert body["state"] == "FAILURE"


async def test_celerys_clients_see_the_end_too(gateway, channel, redis_url):
    app = Celery("client", backend=redis_url, set_as_current=False)
    task_id = gateway.app[parts.ACCESS].task_ids.issue("anonymous")
    await bury(channel, id=task_id)
    await eventually(lambda: gateway.app[parts.ENDINGS].outcomes.consumer.acknowledged >= 1, 10)
    result = AsyncResult(task_id, app=app)

    assert await asyncio.to_thread(lambda: result.state) == "FAILURE"
    assert await asyncio.to_thread(lambda: type(result.result).__name__) == "DeadLettered"
    await asyncio.to_thread(app.close)


def nested(depth: int) -> list[Any]:
    return [nested(depth - 1)] if depth else []


UNDECODABLE: dict[str, dict[str, Any]] = {
    "text": {"correlation_id": b"\xff"},
    "a time": {"timestamp": 2**63},
    "a name": {"headers": {b"\xff": 1}},
    "depth": {"headers": {"a": nested(300)}},
}


async def test_letters_that_cannot_be_decoded_do_not_stop_those_behind_them(
    gateway, channel, amqp_url
):
    with Connection(amqp_url) as connection, connection.Producer() as producer:
        for properties in UNDECODABLE.values():
            producer.publish(
                b"{}", exchange="dead", routing_key="default", content_type="application/json",
                content_encoding="utf-8", **properties,
            )  # fmt: skip
    task_id = await submit(gateway, "demo.add", 1, 2, expires=1)

    response = await gateway.get(f"/v1/tasks/{task_id}?wait=20")
    assert (await response.json())["state"] == "REVOKED"
    await consumed(channel)
    listed = await (await gateway.get("/v1/dead-letters/default?limit=100")).json()
    assert listed["total"] == len(UNDECODABLE) + 1
    assert len(listed["letters"]) == listed["total"]


async def test_what_waits_for_an_expired_task_is_recorded_many_at_a_time(gateway, deployment):
    behind = 1_000
    first = {"task": "demo.add", "args": [1, 2], "options": {"expires": 1}}
    canvas = {"chain": [first, *[{"task": "demo.add", "args": [1]}] * behind]}
    response = await gateway.post("/v1/canvas", json=canvas)
    ids = (await response.json())["ids"]
    before = deployment.redis.info("stats")["total_reads_processed"]

    def ended() -> bool:
        marks = deployment.redis.scan_iter("penstock:ended:*", count=5_000)
        return sum(1 for _ in marks) == len(ids)

    await eventually(ended, 15, 0.1)
    reads = deployment.redis.info("stats")["total_reads_processed"] - before
    told = await (await gateway.post("/v1/tasks/status", json={"ids": ids[-1000:]})).json()

    assert reads < behind // 3
    assert {one["state"] for one in told["tasks"]} == {"REVOKED"}
    assert told["tasks"][-1]["error"]["message"] == (
        f"task {ids[0]}, which it waits for, ended: expired"
    )
