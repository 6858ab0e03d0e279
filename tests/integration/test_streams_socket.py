"""GET /v1/stream: what a WebSocket is told, in which order, and how often."""

import asyncio
import json
import random

import aiohttp
import pytest
from aiohttp import WSMsgType

from gateway.api import parts
from tests.support.stream_client import Stream
from tests.support.waiting import eventually


async def test_the_subprotocol_is_agreed_without_compression(stream):
    assert stream.socket.protocol == "penstock.v1"
    assert not stream.socket.compress


async def test_the_answer_to_the_upgrade_echoes_the_request_id(watching):
    answer = await watching.get(
        "/v1/stream",
        headers={
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
            "X-Request-Id": "upgrade-1",
        },
    )

    assert (answer.status, answer.headers["X-Request-Id"]) == (101, "upgrade-1")
    answer.close()


async def test_a_task_is_told_from_pending_to_its_end(stream, issue, worker):
    task_id = issue()
    await stream.subscribe(task_id)
    pending = await stream.next()
    await worker.start(task_id)
    await worker.progress(task_id, 3)
    await worker.log(task_id, "hello")
    await worker.succeed(task_id, {"x": 1})
    started, progress, log, success = await stream.take(4)

    assert pending | {"accepted_at": 0} == {
        "type": "state", "id": task_id, "cursor": "0-0", "state": "PENDING", "accepted_at": 0,
    }  # fmt: skip
    assert (started["state"], started["worker"], started["task"]) == (
        "STARTED", "celery@w1", "demo.test",
    )  # fmt: skip
    assert progress["progress"] == {"current": 3, "total": 9, "message": "step 3"}
    assert log == {
        "type": "log", "id": task_id, "cursor": log["cursor"], "stream": "stdout", "line": "hello",
    }  # fmt: skip
    assert success["state"] == "SUCCESS"
    assert success["result"] == {"x": 1}
    assert {"started_at", "finished_at", "retries"} <= set(success)
    cursors = [message["cursor"] for message in (started, progress, log, success)]
    assert cursors == sorted(cursors, key=lambda c: tuple(map(int, c.split("-"))))


async def test_a_task_that_ended_before_is_told_once(stream, issue, worker):
    task_id = issue()
    await worker.start(task_id)
    await worker.succeed(task_id)
    await stream.subscribe(task_id)

    told = [await stream.next(), *await stream.settled()]
    assert [message["state"] for message in told] == ["SUCCESS"]


async def test_ids_of_the_query_are_subscribed_on_connect(watching, issue, worker):
    first, second = issue(), issue()
    await worker.succeed(second, 2)
    async with watching.ws_connect(f"/v1/stream?ids={first},{second}") as socket:
        told = await Stream(socket).take(2)

    assert {message["id"]: message["state"] for message in told} == {
        first: "PENDING", second: "SUCCESS",
    }  # fmt: skip


async def test_after_the_end_nothing_is_told_and_nothing_is_kept(watching, stream, issue, worker):
    task_id = issue()
    await stream.subscribe(task_id)
    await stream.next()
    await worker.succeed(task_id)
    await stream.next()
    await worker.client.publish(
        f"celery-task-meta-{task_id}", json.dumps({"status": "SUCCESS", "result": 1})
    )

    assert await stream.settled() == []
    await eventually(lambda: len(watching.app[parts.WATCHING].watch.notices) == 0)


async def test_each_of_many_random_timings_tells_the_end_exactly_once(stream, issue, worker):
    ids = [issue() for _ in range(1000)]
    random.shuffle(ids)
    told: dict[str, list[str]] = {task_id: [] for task_id in ids}
    limit = asyncio.Semaphore(16)

    async def execute(task_id):
        async with limit:
            await worker.start(task_id)
            await worker.progress(task_id, 1)
            await worker.succeed(task_id)

    async def subscribe():
        for start in range(0, 1000, 20):
            await stream.subscribe(*ids[start : start + 20])
            await asyncio.sleep(0)

    async def listen():
        while sum("SUCCESS" in states for states in told.values()) < 1000:
            message = await stream.next(timeout_s=20)
            told[message["id"]].append(message["state"])

    async with asyncio.TaskGroup() as group:
        group.create_task(listen())
        group.create_task(subscribe())
        for task_id in random.sample(ids, 1000):
            group.create_task(execute(task_id))

    for message in await stream.settled():
        told[message["id"]].append(message["state"])
    assert all(states.count("SUCCESS") == 1 == len(set(states[-1:])) for states in told.values())
    assert all(states[-1] == "SUCCESS" for states in told.values())


async def test_unsubscribed_tasks_are_not_told_and_redis_is_unsubscribed(
    watching, stream, issue, worker
):
    task_id, other = issue(), issue()
    await stream.subscribe(task_id, other)
    await stream.take(2)
    await stream.socket.send_json({"op": "unsubscribe", "ids": [task_id, "unknown"]})
    await stream.settled()
    await worker.succeed(task_id)
    await worker.succeed(other)

    assert (await stream.next())["id"] == other
    assert await stream.settled() == []
    await eventually(lambda: len(watching.app[parts.WATCHING].watch.notices) == 0)

    async def channels():
        return await worker.client.pubsub_channels() == []

    await eventually(channels)


async def test_a_disconnect_frees_everything(watching, issue, worker):
    async with watching.ws_connect("/v1/stream") as socket:
        await Stream(socket).subscribe(*[issue() for _ in range(50)])
        await Stream(socket).take(50)
        assert len(await worker.client.pubsub_channels()) == 50

    await eventually(lambda: len(watching.app[parts.WATCHING].watch.notices) == 0)
    await eventually(lambda: _no_channels(worker))


async def _no_channels(worker):
    return await worker.client.pubsub_channels() == []


async def test_one_connection_serves_all_sockets(watching, issue, worker):
    task_id = issue()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_watch_to_the_end(watching, task_id)) for _ in range(100)]
        await eventually(lambda: _told(watching, 100))
        clients = await worker.client.client_list(_type="pubsub")
        await worker.succeed(task_id)

    assert len(clients) == 1
    assert [task.result() for task in tasks] == [["PENDING", "SUCCESS"]] * 100


def _told(watching, count):
    topics = watching.app[parts.WATCHING].watch.notices._topics.values()
    return sum(listener.live for topic in topics for listener in topic.listeners) == count


async def _watch_to_the_end(watching, task_id):
    async with watching.ws_connect(f"/v1/stream?ids={task_id}") as socket:
        states: list[str] = []
        while not states or states[-1] != "SUCCESS":
            states.append((await Stream(socket).next())["state"])
        return states


async def test_subscribing_again_tells_the_state_again(stream, issue):
    task_id = issue()
    await stream.subscribe(task_id)
    first = await stream.next()
    await stream.subscribe(task_id, task_id)

    assert await stream.next() == first
    assert await stream.settled() == []


async def test_stock_workers_tell_without_cursor(stream, issue, worker):
    task_id = issue()
    await worker.stock(task_id, "STARTED", {"pid": 7, "hostname": "celery@stock"})
    await stream.subscribe(task_id)
    started = await stream.next()
    await worker.stock(task_id, "SUCCESS", 5)
    success = await stream.next()

    assert (started["state"], started["worker"]) == ("STARTED", "celery@stock")
    assert (success["state"], success["result"]) == ("SUCCESS", 5)
    assert "cursor" not in started | success
    assert "started_at" not in success


async def test_long_states_come_without_their_result(stream, issue, worker):
    early, late, stock = issue(), issue(), issue()
    await worker.succeed(early, "x" * 70_000)
    await worker.stock(stock, "SUCCESS", "x" * 70_000)
    await stream.subscribe(early, late, stock)
    told = {message["id"]: message for message in await stream.take(3)}
    await worker.succeed(late, "x" * 3_000_000)
    told[late] = await stream.next()

    assert [told[i]["state"] for i in (early, late, stock)] == ["SUCCESS"] * 3
    assert all(told[i]["truncated"] is True for i in (early, late, stock))
    assert all("result" not in told[i] for i in (early, late, stock))


async def test_a_state_of_64_kib_comes_whole(stream, issue, worker):
    task_id = issue()
    await stream.subscribe(task_id)
    await stream.next()
    await worker.succeed(task_id, "x" * 65_000)
    message = await stream.next()

    assert message["result"] == "x" * 65_000
    assert "truncated" not in message


async def test_untracked_tasks_have_no_state(stream, issue):
    task_id = issue(tracked=False)
    await stream.subscribe(task_id)
    message = await stream.next()

    assert message["tracked"] is False
    assert "state" not in message


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ("{", "malformed-json"),
        ("[]", "invalid-request"),
        ('{"op": "dance"}', "invalid-request"),
        ('{"op": "subscribe"}', "invalid-request"),
        ('{"op": "unsubscribe"}', "invalid-request"),
        ('{"op": "subscribe", "ids": "x"}', "invalid-request"),
        ('{"op": "subscribe", "ids": [1]}', "invalid-request"),
        ('{"op": "subscribe", "ids": [], "more": 1}', "invalid-request"),
        ('{"op": "subscribe", "ids": ["foreign"]}', "unknown-task-id"),
        ("[" * 100_000, "invalid-request"),
        (json.dumps({"op": "subscribe", "ids": [f"{n}" for n in range(10_001)]}), "too-many-ids"),
        (json.dumps({"op": "subscribe", "ids": ["x" * (1024 * 1024 - 32)]}), "unknown-task-id"),
    ],
    ids=range(12),
)
async def test_bad_messages_are_answered_and_the_socket_lives(stream, issue, data, code):
    await stream.socket.send_str(data)
    error = await stream.next()
    await stream.subscribe(issue())

    assert (error["type"], error["code"]) == ("error", code)
    assert (await stream.next())["state"] == "PENDING"


async def test_binary_messages_and_bad_utf_8_are_answered_and_the_socket_lives(stream, issue):
    await stream.socket.send_bytes(b"\x00\x01")
    await stream.socket._writer.send_frame(b'{"op": "\xff"}', WSMsgType.TEXT)
    errors = await stream.take(2)
    await stream.subscribe(issue())

    assert [error["code"] for error in errors] == ["invalid-request", "malformed-json"]
    assert (await stream.next())["state"] == "PENDING"


@pytest.mark.parametrize("size", [1024 * 1024 + 1, 20_000_000])
async def test_a_message_over_1_mib_is_answered_and_the_socket_closed_as_too_big(stream, size):
    await stream.socket.send_str("x" * size)

    assert (await stream.next())["code"] == "body-too-large"
    message = await stream.socket.receive(timeout=5)
    assert message.type is WSMsgType.CLOSE
    assert message.data == 1009


@pytest.mark.parametrize("cursor", ["yesterday", "٣-٣", "1-²", "99999999999999999999-0"])
async def test_a_bad_cursor_is_refused_for_its_task_alone(stream, issue, worker, cursor):
    bad, good = issue(), issue()
    await worker.start(bad)
    await worker.log(bad, "a line")
    await stream.subscribe(tasks={bad: cursor, good: None})
    told = {message["id"]: message for message in await stream.take(2)}

    assert told[bad]["code"] == "invalid-request"
    assert told[good]["state"] == "PENDING"


async def test_another_tenants_id_is_unknown(watching, stream):
    foreign = watching.app[parts.ACCESS].task_ids.issue("somebody-else")
    watching.app[parts.ACCESS].keyring._tenants = frozenset({"anonymous"})
    await stream.subscribe(foreign)

    assert (await stream.next())["code"] == "unknown-task-id"


async def test_ten_thousand_ids_on_one_socket(stream, issue, worker):
    ids = [issue() for _ in range(10_000)]
    for start in range(0, 10_000, 2500):
        await stream.subscribe(*ids[start : start + 2500])
    first = await stream.take(10_000, timeout_s=30)
    await stream.subscribe(issue())
    refusal = await stream.next()
    ended = random.sample(ids, 100)
    for task_id in ended:
        await worker.succeed(task_id)
    last = await stream.take(100)

    assert sorted(message["id"] for message in first) == sorted(ids)
    assert refusal["code"] == "too-many-ids"
    assert sorted(message["id"] for message in last) == sorted(ended)
    await stream.subscribe(issue())  # what ended makes room
    assert (await stream.next())["state"] == "PENDING"


async def test_pings_of_both_kinds_are_answered(stream):
    await stream.socket.send_json({"op": "ping"})
    assert await stream.next() == {"type": "pong"}

    await stream.socket.ping(b"are you there")
    message = await stream.socket.receive(timeout=5) if not stream.socket._autoping else None
    assert message is None or message.data == b"are you there"


async def test_an_offered_other_subprotocol_is_refused(watching):
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await watching.ws_connect("/v1/stream", protocols=["other.v1"])

    assert refused.value.status == 400


async def test_a_plain_get_is_told_to_upgrade(watching):
    response = await watching.get("/v1/stream")

    assert response.status == 400
    assert (await response.json())["code"] == "invalid-request"


async def test_shutting_down_closes_sockets_as_going_away(watching, stream, issue):
    await stream.subscribe(issue())
    await stream.next()
    await watching.app.shutdown()

    message = await stream.socket.receive(timeout=5)
    assert message.type is WSMsgType.CLOSE
    assert message.data == 1001
