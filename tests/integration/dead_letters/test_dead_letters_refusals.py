"""Dead letters that stay: full queues, lost confirms, bad requests, no broker, two at once."""

import asyncio
import json
import time
from typing import Any

import aio_pika
import pytest

from devstack.proxy import Direction, TcpProxy
from gateway.config import GatewayConfig
from tests.deployment.gateway import running_gateway
from tests.support.dead_letters import BODY, look, replay
from tests.support.waiting import eventually


async def test_a_full_queue_keeps_its_letters_dead(client, broker, amqp_url):
    await broker.reject("one")
    await broker.has("default.dead", 1)
    connection = await aio_pika.connect(amqp_url)
    async with connection:  # the broker's own limit, which ours is far below
        channel = await connection.channel()
        await channel.queue_delete("default", if_unused=False, if_empty=False)
        full: Any = {"x-max-length": 1, "x-overflow": "reject-publish", "x-queue-type": "classic"}
        queue = await channel.declare_queue("default", durable=True, arguments=full)
        await queue.bind("tasks", "default")
        await broker.publish("filler")

        done = await replay(client, {"all": True})

    assert done["failed"] == [{"id": "one", "detail": "the queue is full"}]
    assert (done["replayed"], done["remaining"]) == (0, 1)
    await broker.has("default.dead", 1)


async def test_a_letter_stays_when_the_confirm_does_not_come(amqp_url, redis_url, rabbit, broker):
    async with TcpProxy(rabbit.port) as proxy:
        config = GatewayConfig(amqp_url=proxy.url_through(amqp_url), redis_url=redis_url)
        async with running_gateway(config) as client:
            for number in range(20):
                await broker.reject(f"letter-{number}", body=BODY.ljust(40_000))
            await broker.has("default.dead", 20)

            # enough for connecting and getting all letters, not for publishing them
            proxy.cut_after(200_000, Direction.TO_SERVER)
            problem = await replay(client, {"all": True}, status=504)
            assert (problem["code"], problem["queued"]) == ("unconfirmed", "unknown")
            proxy.resume()

        async def nothing_is_lost() -> bool:
            dead, alive = await broker.count("default.dead"), await broker.count("default")
            return bool(dead + alive >= 20 and dead > 0)

        await eventually(nothing_is_lost)


async def test_letters_are_published_again_at_the_rate_asked_for(client, broker):
    for number in range(20):
        await broker.reject(f"letter-{number}")
    await broker.has("default.dead", 20)

    started = time.monotonic()
    done = await replay(client, {"all": True, "rate": 20})

    assert done["replayed"] == 20
    assert 0.9 <= time.monotonic() - started < 5


async def test_two_replays_at_once_publish_each_letter_once(client, broker):
    for number in range(30):
        await broker.reject(f"letter-{number}")
    await broker.has("default.dead", 30)

    first, second = await asyncio.gather(
        replay(client, {"all": True}), replay(client, {"all": True})
    )

    assert first["replayed"] + second["replayed"] == 30
    await broker.has("default", 30)


@pytest.mark.parametrize(
    "body", [{}, {"all": False}, {"all": True, "ids": ["a"]}, {"ids": []}, {"ids": [1]}, [], "x",
             {"all": True, "rate": 0}, {"all": True, "more": 1}]
)  # fmt: skip
async def test_a_bad_replay_is_refused(client, body):
    problem = await replay(client, body, status=400)

    assert (problem["code"], problem["queued"]) == ("invalid-request", "no")


async def test_a_queue_that_keeps_no_letters_is_unknown(client):
    for queue in ("no-such", "nowhere.dead", "dead.outcomes"):
        assert (await look(client, queue, 404))["code"] == "unknown-queue"
        assert (await replay(client, {"all": True}, queue, 404))["code"] == "unknown-queue"


async def test_without_rabbitmq_the_answer_comes_and_says_so(redis_url):
    config = GatewayConfig(amqp_url="amqp://guest:guest@127.0.0.1:1/", redis_url=redis_url)
    async with running_gateway(config, ready=False) as client:
        problem = await look(client, status=503)
        assert problem["code"] == "broker-unavailable"
        assert "guest" not in json.dumps(problem)
        assert (await replay(client, {"all": True}, status=503))["queued"] == "no"
