"""Dead letters over HTTP: looked at, published again, removed only then."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import aio_pika
import pytest

from devstack.proxy import Direction, TcpProxy
from gateway.config import GatewayConfig
from tests.gateway_client import running_gateway
from tests.waiting import eventually
from topology.delay import delay_route

BODY = b'[[1,2],{},{"callbacks":null,"errbacks":null,"chain":null,"chord":null}]'


class Broker:
    """What a worker and another publisher would do."""

    def __init__(self, channel: aio_pika.abc.AbstractChannel) -> None:
        self._channel = channel

    async def publish(
        self, task_id: str, exchange: str = "tasks", key: str = "default", **properties: Any
    ) -> None:
        headers: dict[str, Any] = {"id": task_id, "task": "demo.add", "lang": "py", "retries": 0}
        headers |= properties.pop("headers", {})
        await (await self._channel.get_exchange(exchange, ensure=False)).publish(
            aio_pika.Message(
                properties.pop("body", BODY),
                headers=headers,
                message_id=task_id,
                correlation_id=task_id,
                content_type="application/json",
                content_encoding="utf-8",
                **properties,
            ),
            key,
        )

    async def get(self, queue: str = "default") -> aio_pika.abc.AbstractIncomingMessage:
        there = await self._channel.get_queue(queue, ensure=False)

        async def message() -> Any:
            return await there.get(fail=False)

        found: aio_pika.abc.AbstractIncomingMessage = await eventually(message, timeout_s=10)
        return found

    async def reject(self, task_id: str, **more: Any) -> None:
        """Publish a message and dead-letter it as a worker does."""
        await self.publish(task_id, **more)
        await (await self.get()).reject(requeue=False)

    async def count(self, queue: str) -> int:
        there = await self._channel.declare_queue(queue, passive=True)
        return there.declaration_result.message_count or 0

    async def has(self, queue: str, count: int) -> None:
        async def reached() -> bool:
            return await self.count(queue) == count

        await eventually(reached, timeout_s=10)


@pytest.fixture
async def broker(amqp_url) -> AsyncIterator[Broker]:
    connection = await aio_pika.connect(amqp_url)
    async with connection:
        yield Broker(await connection.channel())


@pytest.fixture
async def client(amqp_url, redis_url) -> AsyncIterator[Any]:
    config = GatewayConfig(amqp_url=amqp_url, redis_url=redis_url)
    async with running_gateway(config) as client:
        yield client


async def look(client: Any, queue: str = "default", status: int = 200) -> Any:
    async with client.get(f"/v1/dead-letters/{queue}") as answer:
        body = await answer.json()
        assert answer.status == status, body
        return body


async def replay(client: Any, body: Any, queue: str = "default", status: int = 200) -> Any:
    async with client.post(f"/v1/dead-letters/{queue}/replay", json=body) as answer:
        found = await answer.json()
        assert answer.status == status, found
        return found


async def test_an_empty_queue_has_no_letters(client):
    assert await look(client) == {"queue": "default", "total": 0, "letters": []}
    assert (await replay(client, {"all": True}))["replayed"] == 0


async def test_a_letter_tells_why_when_and_what(client, broker):
    before = time.time()
    await broker.reject("rejected-1")
    await broker.publish("expired-1", expiration=0.01)
    await broker.has("default.dead", 2)

    told = await look(client)

    assert told["total"] == 2
    first, second = told["letters"]
    assert (first["id"], first["reason"], first["task"]) == ("rejected-1", "rejected", "demo.add")
    assert (first["queue"], first["exchange"], first["routing_key"]) == (
        "default",
        "tasks",
        "default",
    )
    assert first["size_bytes"] == len(BODY)
    assert (second["id"], second["reason"]) == ("expired-1", "expired")
    assert first["time"].startswith(time.strftime("%Y-%m-%dT%H:", time.gmtime(before)))
    assert "replays" not in first


async def test_looking_never_uses_up_a_letter(client, broker):
    for number in range(3):
        await broker.reject(f"letter-{number}")
    await broker.has("default.dead", 3)

    for _ in range(30):  # the default delivery limit of RabbitMQ 4 is 20
        told = await look(client)
        assert [one["id"] for one in told["letters"]] == ["letter-0", "letter-1", "letter-2"]
    await broker.has("default.dead", 3)


async def test_the_queue_that_keeps_letters_names_them_too(client, broker):
    await broker.reject("found")
    await broker.has("default.dead", 1)

    told = await look(client, "default.dead")
    assert (told["queue"], [one["id"] for one in told["letters"]]) == ("default", ["found"])
    async with client.post("/v1/dead-letters/default.dead/replay", json={"all": True}) as answer:
        done = await answer.json()
    assert (done["queue"], done["ids"]) == ("default", ["found"])
    await broker.has("default", 1)


async def test_only_so_many_letters_are_listed(client, broker):
    for number in range(4):
        await broker.reject(f"letter-{number}")
    await broker.has("default.dead", 4)

    async with client.get("/v1/dead-letters/default?limit=3") as answer:
        body = await answer.json()
    assert (len(body["letters"]), body["total"]) == (3, 4)
    for limit in ("0", "1001", "x", "-1", "1.5", "", "9" * 30):
        async with client.get(f"/v1/dead-letters/default?limit={limit}") as answer:
            assert (answer.status, (await answer.json())["code"]) == (400, "invalid-request")


async def test_all_letters_are_published_again_without_the_broker_s_death_headers(client, broker):
    await broker.reject("one", headers={"x-penstock-tenant": "a", "custom": 5}, priority=3)
    await broker.reject("two")
    await broker.has("default.dead", 2)

    done = await replay(client, {"all": True})

    assert (done["replayed"], done["remaining"], done["failed"], done["missing"]) == (2, 0, [], [])
    assert done["ids"] == ["one", "two"]
    await broker.has("default.dead", 0)
    message = await broker.get()
    assert message.body == BODY
    assert not [name for name in message.headers if "death" in name]
    assert message.headers["id"] == "one"
    assert (message.headers["custom"], message.headers["x-penstock-tenant"]) == (5, "a")
    assert message.headers["x-penstock-replay"] == 1
    assert message.headers["x-penstock-lineage"][0].endswith(" rejected default")
    assert (message.correlation_id, message.content_type) == ("one", "application/json")
    assert (message.priority, message.delivery_mode) == (3, aio_pika.DeliveryMode.PERSISTENT)


async def test_a_letter_that_dies_again_keeps_its_lineage(client, broker):
    await broker.reject("one")
    for replays in (1, 2):
        await broker.has("default.dead", 1)
        assert (await replay(client, {"ids": ["one"]}))["replayed"] == 1
        message = await broker.get()
        assert message.headers["x-penstock-replay"] == replays
        await message.reject(requeue=False)
    await broker.has("default.dead", 1)

    letter = (await look(client))["letters"][0]
    assert letter["replays"] == 2
    assert len(letter["lineage"]) == 2


async def test_only_the_letters_asked_for_are_published_again(client, broker):
    for number in range(5):
        await broker.reject(f"letter-{number}")
    await broker.has("default.dead", 5)

    done = await replay(client, {"ids": ["letter-3", "letter-1", "no-such"]})

    assert (sorted(done["ids"]), done["missing"]) == (["letter-1", "letter-3"], ["no-such"])
    assert done["remaining"] == 3
    await broker.has("default.dead", 3)
    await broker.has("default", 2)
    left = [one["id"] for one in (await look(client))["letters"]]
    assert left == ["letter-0", "letter-2", "letter-4"]


async def test_a_letter_goes_only_to_the_queue_that_it_died_in(client, broker):
    await broker.publish("batch", exchange="events", key="documents.users")
    await (await broker.get("mongo_queue")).reject(requeue=False)
    await broker.has("mongo_queue.dead", 1)

    letter = (await look(client, "mongo_queue"))["letters"][0]
    assert (letter["exchange"], letter["routing_key"]) == ("events", "documents.users")
    assert (await replay(client, {"all": True}, "mongo_queue"))["replayed"] == 1

    assert (await broker.get("mongo_queue")).routing_key == "mongo_queue"


async def test_a_delayed_message_that_died_is_told_by_its_destination(client, broker):
    exchange, key = delay_route(1, "tasks", "default")
    await broker.publish("late", exchange=exchange, key=key)
    await (await broker.get()).reject(requeue=False)
    await broker.has("default.dead", 1)

    letter = (await look(client))["letters"][0]
    assert (letter["reason"], letter["exchange"], letter["routing_key"]) == (
        "rejected",
        "tasks",
        "default",
    )
    await replay(client, {"all": True})
    assert (await broker.get()).headers["id"] == "late"  # at once, not a second later


async def test_a_delayed_message_without_a_destination_stays_until_there_is_one(
    client, broker, amqp_url
):
    exchange, key = delay_route(1, "tasks", "to-come")
    await broker.publish("lost", exchange=exchange, key=key)
    await broker.has("unrouted.dead", 1)

    letter = (await look(client, "unrouted"))["letters"][0]
    assert (letter["reason"], letter["exchange"], letter["routing_key"]) == (
        "unrouted",
        "tasks",
        "to-come",
    )
    done = await replay(client, {"all": True}, "unrouted")
    assert (done["replayed"], done["remaining"]) == (0, 1)
    assert done["failed"] == [{"id": "lost", "detail": "no queue is bound for it"}]
    await broker.has("unrouted.dead", 1)

    connection = await aio_pika.connect(amqp_url)
    async with connection:
        channel = await connection.channel()
        await (await channel.get_queue("default", ensure=False)).bind("tasks", "to-come")
    assert (await replay(client, {"ids": ["lost"]}, "unrouted"))["replayed"] == 1
    assert (await broker.get()).headers["id"] == "lost"
    await broker.has("unrouted.dead", 0)


async def test_an_expiry_that_is_over_does_not_kill_the_letter_again(client, broker):
    expires = {"expires": "2026-01-31T00:00:00+00:00"}
    await broker.publish("old", headers=expires, expiration=0.01)
    await broker.has("default.dead", 1)

    await replay(client, {"all": True})

    message = await broker.get()
    assert (message.headers["expires"], message.expiration) == (None, None)


async def test_a_message_that_is_no_task_has_an_id_for_replay_too(client, broker, amqp_url):
    connection = await aio_pika.connect(amqp_url)
    async with connection:
        channel = await connection.channel()
        exchange = await channel.get_exchange("tasks", ensure=False)
        await exchange.publish(aio_pika.Message(b"\xff not json"), "default")
    await (await broker.get()).reject(requeue=False)
    await broker.has("default.dead", 1)

    letter = (await look(client))["letters"][0]
    assert (letter["task"], letter["error"]) == (None, None)
    done = await replay(client, {"ids": [letter["id"]]})
    assert (done["replayed"], done["missing"]) == (1, [])
    again = await broker.get()
    assert again.body == b"\xff not json"
    await again.reject(requeue=False)
    await broker.has("default.dead", 1)
    assert [one["id"] for one in (await look(client))["letters"]] == [letter["id"]]


async def test_what_a_worker_wrote_on_burying_is_told_and_left_out_of_the_replay(client, broker):
    told = {
        "x-penstock-reason": "permanent-error",
        "x-penstock-error-type": "ValueError",
        "x-penstock-error": "no such thing",
        "x-penstock-traceback": "Traceback …",
    }
    await broker.publish("buried", exchange="dead", key="default", headers=told, timestamp=1.7e9)
    await broker.has("default.dead", 1)

    letter = (await look(client))["letters"][0]
    assert letter["reason"] == "permanent-error"
    assert letter["time"] == "2023-11-14T22:13:20.000Z"
    assert letter["error"] == {
        "type": "ValueError",
        "message": "no such thing",
        "traceback": "Traceback …",
    }
    await replay(client, {"all": True})
    assert not told.keys() & (await broker.get()).headers.keys()


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
