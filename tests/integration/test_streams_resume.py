"""Coming back: exactly what was missed, or a gap. And losing Redis, or the client."""

import asyncio
import json

import pytest
from aiohttp import WSMsgType

from gateway.api import parts
from gateway.api.parts import WATCHING
from gateway.watching.stream_parts import StreamLimits
from penstock.wire.keys import TaskKeys
from tests.support.stream_client import Stream
from tests.support.waiting import eventually


async def test_a_client_that_comes_back_gets_exactly_what_it_missed(
    watching, stream, issue, worker
):
    task_id = issue()
    await stream.subscribe(task_id)
    await stream.next()
    await worker.start(task_id)
    seen = await stream.next()
    for step in range(1, 101):
        await worker.progress(task_id, step)
        await worker.log(task_id, f"line {step}")
    await worker.succeed(task_id)
    all_told = await stream.take(201)

    async with watching.ws_connect("/v1/stream") as again:
        other = Stream(again)
        await other.subscribe(tasks={task_id: seen["cursor"]})
        assert await other.take(201) == all_told
        assert await other.settled() == []


async def test_a_client_that_saw_pending_gets_everything_since(watching, stream, issue, worker):
    task_id = issue()
    await stream.subscribe(task_id)
    pending = await stream.next()
    await stream.socket.send_json({"op": "unsubscribe", "ids": [task_id]})
    await stream.settled()
    await stream.subscribe(tasks={task_id: pending["cursor"]})
    assert await stream.settled() == []  # still pending: nothing came after it
    await worker.start(task_id)
    await worker.log(task_id, "one")
    live = await stream.take(2)

    async with watching.ws_connect("/v1/stream") as again:
        other = Stream(again)
        await other.subscribe(tasks={task_id: pending["cursor"]})
        assert await other.take(2) == live
        await worker.succeed(task_id)
        assert (await other.next())["state"] == "SUCCESS"


async def test_what_happens_while_a_client_catches_up_is_told_once_and_in_order(
    watching, issue, worker
):
    task_id = issue()
    await worker.start(task_id)
    started = (await _first(watching, task_id))["cursor"]
    for step in range(300):
        await worker.log(task_id, f"{step}")

    async def go_on():
        for step in range(300, 600):
            await worker.log(task_id, f"{step}")
        await worker.succeed(task_id)

    async with watching.ws_connect("/v1/stream") as again, asyncio.TaskGroup() as group:
        group.create_task(go_on())
        other = Stream(again)
        await other.subscribe(tasks={task_id: started})
        told = await other.take(601, timeout_s=20)
        assert [message.get("line") for message in told[:600]] == [f"{n}" for n in range(600)]
        assert told[600]["state"] == "SUCCESS"
        assert await other.settled() == []


async def _first(watching, task_id):
    async with watching.ws_connect(f"/v1/stream?ids={task_id}") as client:
        return await Stream(client).next()


async def test_the_cursor_of_an_end_has_nothing_after_it(watching, stream, issue, worker):
    task_id = issue()
    await worker.succeed(task_id)
    end = await _first(watching, task_id)
    await stream.subscribe(tasks={task_id: end["cursor"]})

    assert await stream.settled() == []
    await eventually(lambda: len(watching.app[parts.WATCHING].watch.notices) == 0)


@pytest.mark.parametrize("cursor", ["1-0", "99999999999999-0"])
async def test_a_cursor_that_is_not_kept_gives_a_gap_and_the_state(stream, issue, worker, cursor):
    task_id = issue()
    await worker.start(task_id)
    await stream.subscribe(tasks={task_id: cursor})
    gap, state = await stream.take(2)

    assert gap == {"type": "gap", "id": task_id}
    assert state["state"] == "STARTED"
    await worker.succeed(task_id)
    assert (await stream.next())["state"] == "SUCCESS"


async def test_a_trimmed_stream_gives_a_gap_from_its_beginning(stream, issue, worker):
    task_id = issue()
    await worker.start(task_id)
    for step in range(1300):
        await worker.log(task_id, f"{step}")
    await stream.subscribe(tasks={task_id: "0-0"})

    assert [message["type"] for message in await stream.take(2)] == ["gap", "state"]


async def test_resuming_a_stock_workers_task_gives_its_state(stream, issue, worker):
    task_id = issue()
    await worker.stock(task_id, "SUCCESS", 1)
    await stream.subscribe(tasks={task_id: "0-0"})

    assert (await stream.next())["state"] == "SUCCESS"
    assert await stream.settled() == []


async def test_long_missed_states_come_without_their_result(watching, stream, issue, worker):
    task_id = issue()
    await worker.start(task_id)
    cursor = (await _first(watching, task_id))["cursor"]
    await worker.succeed(task_id, "x" * 100_000)
    await stream.subscribe(tasks={task_id: cursor})
    message = await stream.next()

    assert (message["state"], message["truncated"]) == ("SUCCESS", True)


async def test_expired_results_are_an_error_on_streams(stream, issue, worker):
    task_id = issue()
    await worker.succeed(task_id)
    await worker.client.delete(f"celery-task-meta-{task_id}", TaskKeys.of(task_id).events)
    await stream.subscribe(task_id)

    assert (await stream.next())["code"] == "result-expired"


async def test_a_lost_notice_connection_says_gap_and_the_state(stream, watching, issue, worker):
    ended, running = issue(), issue()
    await stream.subscribe(ended, running)
    await stream.take(2)
    notices = watching.app[parts.WATCHING].watch.notices
    before = notices.connections
    for client in await worker.client.client_list(_type="pubsub"):
        await worker.client.client_kill_filter(_id=client["id"])
    await worker.succeed(ended)
    told = await stream.take(4)

    assert notices.connections == before + 1
    assert sorted(
        (message["id"] == ended, message["type"], message.get("state")) for message in told
    ) == [
        (False, "gap", None), (False, "state", "PENDING"),
        (True, "gap", None), (True, "state", "SUCCESS"),
    ]  # fmt: skip
    await worker.succeed(running)
    assert (await stream.next())["state"] == "SUCCESS"
    assert await stream.settled() == []


async def test_a_first_connection_is_no_gap(make_watching_gateway, redis_url, issue, stream):
    await stream.subscribe(issue())

    assert [message["type"] for message in [await stream.next(), *await stream.settled()]] == [
        "state"
    ]


async def test_a_slow_consumer_is_told_so_and_closed(make_watching_gateway, worker):
    client = await make_watching_gateway(StreamLimits(backlog_bytes=200_000))
    ids = [client.app[parts.ACCESS].task_ids.issue("anonymous") for _ in range(200)]
    async with client.ws_connect("/v1/stream") as ws:
        stream = Stream(ws)
        await stream.subscribe(*ids)
        await stream.take(200)
        ws._response.connection.transport.pause_reading()
        streams = client.app[WATCHING].streams

        async def flooded():
            for task_id in ids:
                await worker.store(task_id, "PROGRESS", {"current": 1, "message": "x" * 50_000})
            return all(one.closing for one in streams._sockets)

        await eventually(flooded, timeout_s=20)
        await eventually(lambda: len(client.app[parts.WATCHING].watch.notices) == 0)
        ws._response.connection.transport.resume_reading()
        last = None
        while (message := await ws.receive(timeout=10)).type is WSMsgType.TEXT:
            last = json.loads(message.data)

    assert last is not None
    assert last["code"] == "slow-consumer"
    assert message.type is WSMsgType.CLOSE
    assert message.data == 1013


async def test_first_states_wait_for_a_slow_reader_instead_of_losing_it(
    make_watching_gateway, worker
):
    client = await make_watching_gateway(StreamLimits(backlog_bytes=600_000))
    ids = [client.app[parts.ACCESS].task_ids.issue("anonymous") for _ in range(400)]
    for task_id in ids:
        await worker.succeed(task_id, "x" * 60_000)
    async with client.ws_connect("/v1/stream", max_msg_size=0) as ws:
        ws._response.connection.transport.pause_reading()
        stream = Stream(ws)
        await stream.subscribe(*ids)
        [served] = client.app[WATCHING].streams._sockets
        await eventually(lambda: served.backlog > 64_000)
        assert served.backlog < 300_000
        ws._response.connection.transport.resume_reading()
        told = await stream.take(400, timeout_s=10)

    assert sorted(message["id"] for message in told) == sorted(ids)


async def test_a_silent_client_is_pinged_and_lives_by_its_pong(make_watching_gateway):
    client = await _impatient(make_watching_gateway)
    async with client.ws_connect("/v1/stream", autoping=False) as ws:
        for _ in range(4):
            message = await ws.receive(timeout=5)
            assert message.type is WSMsgType.PING
            await ws.pong(message.data)
        await ws.send_json({"op": "ping"})
        assert (await ws.receive_json(timeout=5)) == {"type": "pong"}


async def test_a_client_that_answers_nothing_is_cut(make_watching_gateway):
    client = await _impatient(make_watching_gateway)
    async with client.ws_connect("/v1/stream", autoping=False) as ws:
        assert (await ws.receive(timeout=5)).type is WSMsgType.PING
        message = await ws.receive(timeout=5)
        assert message.type in {WSMsgType.CLOSED, WSMsgType.ERROR}
        assert ws.close_code == 1006
    await eventually(lambda: len(client.app[WATCHING].streams) == 0)


async def _impatient(make_watching_gateway):
    limits = StreamLimits(ping_after_s=0.2, dead_after_s=0.6)
    return await make_watching_gateway(limits)


async def test_redis_killed_and_restarted_ends_every_watch_with_the_right_state(
    redis_server, make_watching_gateway, worker
):
    client = await make_watching_gateway()
    ids = [client.app[parts.ACCESS].task_ids.issue("anonymous") for _ in range(1000)]
    before, during, after = ids[:300], ids[300:600], ids[600:]
    async with client.ws_connect("/v1/stream") as ws:
        stream = Stream(ws)
        await stream.subscribe(*ids)
        await stream.take(1000, timeout_s=20)
        for task_id in before:
            await worker.succeed(task_id, "before")
        ended = {message["id"]: message for message in await stream.take(300)}
        await redis_server.kill()
        await eventually(lambda: not client.app[parts.WATCHING].watch.online)
        assert await stream.settled() == []
        await redis_server.start()
        await worker.client.connection_pool.disconnect()
        for task_id in during:
            await worker.succeed(task_id, "during")
        for task_id in after:
            await worker.succeed(task_id, "after")
        gaps = set()
        while len(ended) < 1000:
            message = await stream.next(timeout_s=20)
            if message["type"] == "gap":
                gaps.add(message["id"])
            elif message["state"] == "SUCCESS":
                assert message["id"] not in ended
                ended[message["id"]] = message
        assert await stream.settled() == []

    assert gaps == {*during, *after}
    expected = {"before": before, "during": during, "after": after}
    assert all(ended[i]["result"] == word for word, some in expected.items() for i in some)
