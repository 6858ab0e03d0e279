"""Dead letters over HTTP: looked at, published again, removed only then."""

import time

import aio_pika

from penstock.wire.delay import delay_route
from tests.support.dead_letters import BODY, look, replay
from tests.support.worker_states import WorkerStates


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


async def test_a_letter_has_the_error_of_its_task_where_its_worker_could_add_none(
    client, broker, redis_url
):
    states = WorkerStates.at(redis_url)
    await states.start("explained")
    await states.fail("explained", "no such task here")
    await states.client.aclose()
    for task_id in ("explained", "unexplained"):
        await broker.reject(task_id)
    await broker.has("default.dead", 2)

    first, second = (await look(client))["letters"]

    assert first["error"]["message"] == "no such task here"
    assert second["error"] is None


async def test_looking_never_uses_up_a_letter(client, broker):
    for number in range(3):
        await broker.reject(f"letter-{number}")
    await broker.has("default.dead", 3)

    for _ in range(30):  # the default delivery limit of RabbitMQ 4 is 20
        told = await look(client)
        assert [one["id"] for one in told["letters"]] == ["letter-0", "letter-1", "letter-2"]
    await broker.has("default.dead", 3)


async def test_a_letter_just_looked_at_is_there_to_be_replayed(client, broker):
    await broker.reject("again")
    await broker.has("default.dead", 1)

    for _ in range(100):
        assert (await look(client))["total"] == 1
        done = await replay(client, {"ids": ["no-such"]})
        assert (done["remaining"], done["missing"]) == (1, ["no-such"])


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
