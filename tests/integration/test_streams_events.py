"""GET /v1/tasks/{id}/stream, and from where a stream may be opened."""

import asyncio

import aiohttp
import pytest

from gateway.api import parts
from gateway.api.parts import WATCHING
from gateway.watching.stream_parts import StreamLimits
from penstock.wire.keys import TaskKeys
from tests.support.event_source_client import Source
from tests.support.stream_client import Stream
from tests.support.waiting import eventually


async def test_a_task_is_streamed_from_its_state_to_its_end(watching, issue, worker):
    task_id = issue()
    response = await watching.get(f"/v1/tasks/{task_id}/stream")
    source = Source(response)
    pending = await source.next()
    await worker.start(task_id)
    await worker.log(task_id, "hello", "stderr")
    await worker.succeed(task_id, [1])
    started, log, success = [await source.next() for _ in range(3)]

    assert response.content_type == "text/event-stream"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Request-Id"]
    assert (pending["event"], pending["id"], pending["data"]["state"]) == (
        "state", "0-0", "PENDING",
    )  # fmt: skip
    assert started["data"]["state"] == "STARTED"
    assert log["event"] == "log"
    assert log["data"] == {
        "cursor": log["id"], "id": task_id, "stream": "stderr", "line": "hello",
    }  # fmt: skip
    assert (success["event"], success["data"]["result"]) == ("state", [1])
    assert await source.rest() == []
    assert response.content.at_eof()
    await eventually(lambda: len(watching.app[parts.WATCHING].watch.notices) == 0)


async def test_last_event_id_resumes_and_after_the_end_there_is_nothing(watching, issue, worker):
    task_id = issue()
    await worker.start(task_id)
    for step in range(200):
        await worker.log(task_id, f"{step} " + "x" * 1000)
    await worker.succeed(task_id)
    first = await Source(await watching.get(f"/v1/tasks/{task_id}/stream")).next()
    everything = await Source(
        await watching.get(f"/v1/tasks/{task_id}/stream", headers={"Last-Event-ID": "0-0"})
    ).rest()
    some = await Source(
        await watching.get(
            f"/v1/tasks/{task_id}/stream", headers={"Last-Event-ID": everything[99]["id"]}
        )
    ).rest()
    over = await watching.get(f"/v1/tasks/{task_id}/stream", headers={"Last-Event-ID": first["id"]})

    assert len(everything) == 202
    assert some == everything[100:]
    assert everything[-1] == first
    assert over.status == 204


async def test_a_stock_workers_end_stops_an_event_source_too(watching, issue, worker):
    task_id = issue()
    await worker.stock(task_id, "SUCCESS", 1)
    [end] = await Source(await watching.get(f"/v1/tasks/{task_id}/stream")).rest()
    again = await watching.get(f"/v1/tasks/{task_id}/stream", headers={"Last-Event-ID": end["id"]})

    assert again.status == 204


async def test_a_cursor_that_is_not_kept_is_a_gap(watching, issue, worker):
    task_id = issue()
    await worker.succeed(task_id)
    events = await Source(
        await watching.get(f"/v1/tasks/{task_id}/stream", headers={"Last-Event-ID": "5-5"})
    ).rest()

    assert [event["event"] for event in events] == ["gap", "state"]
    assert events[0]["data"] == {"id": task_id}


async def test_what_cannot_be_streamed_is_a_problem(watching, issue, worker):
    expired, untracked = issue(), issue(tracked=False)
    await worker.succeed(expired)
    await worker.client.delete(f"celery-task-meta-{expired}", TaskKeys.of(expired).events)
    answers = [
        await watching.get("/v1/tasks/nobody knows/stream"),
        await watching.get(f"/v1/tasks/{expired}/stream"),
        await watching.get(f"/v1/tasks/{untracked}/stream"),
        await watching.get(f"/v1/tasks/{issue()}/stream", headers={"Last-Event-ID": "x"}),
        await watching.get(f"/v1/tasks/{issue()}/stream", headers={"Accept": "image/png"}),
        await watching.get(
            f"/v1/tasks/{issue()}/stream", headers={"Accept": "text/event-stream; q=0"}
        ),
        await watching.get(f"/v1/tasks/{untracked}/stream", headers={"Accept": ""}),
        await watching.get(
            f"/v1/tasks/{untracked}/stream",
            headers=[("Accept", "text/html"), ("Accept", "text/event-stream")],
        ),
    ]

    assert [answer.status for answer in answers] == [404, 410, 204, 400, 406, 406, 204, 204]
    assert (await answers[3].json())["errors"][0]["at"] == "Last-Event-ID"


async def test_the_end_of_a_stream_is_the_end_of_its_connection(watching, issue, worker):
    task_id = issue()
    await worker.succeed(task_id)
    reader, writer = await asyncio.open_connection("127.0.0.1", watching.port)
    writer.write(b"GET /v1/tasks/%b/stream HTTP/1.1\r\nHost: localhost\r\n\r\n" % task_id.encode())
    async with asyncio.timeout(5):
        everything = await reader.read()
    writer.close()

    assert everything.endswith(b"\r\n0\r\n\r\n")


async def test_a_silent_stream_is_kept_alive_by_comments(make_watching_gateway):
    client = await make_watching_gateway(StreamLimits(comment_every_s=0.1))
    task_id = client.app[parts.ACCESS].task_ids.issue("anonymous")
    response = await client.get(f"/v1/tasks/{task_id}/stream")
    await Source(response).next()

    async with asyncio.timeout(5):
        assert await response.content.readline() == b":\n"


async def test_a_client_that_goes_is_noticed_and_freed(make_watching_gateway):
    client = await make_watching_gateway(StreamLimits(comment_every_s=0.1))
    task_id = client.app[parts.ACCESS].task_ids.issue("anonymous")
    response = await client.get(f"/v1/tasks/{task_id}/stream")
    await Source(response).next()
    assert len(client.app[parts.WATCHING].watch.notices) == 1
    response.close()

    await eventually(lambda: len(client.app[WATCHING].streams) == 0)
    await eventually(lambda: len(client.app[parts.WATCHING].watch.notices) == 0)


async def test_an_event_source_that_reads_too_slowly_is_told_and_ended(
    make_watching_gateway, worker
):
    client = await make_watching_gateway(StreamLimits(backlog_bytes=200_000))
    task_id = client.app[parts.ACCESS].task_ids.issue("anonymous")
    response = await client.get(f"/v1/tasks/{task_id}/stream")
    source = Source(response)
    await source.next()
    response.connection.transport.pause_reading()

    async def given_up():
        for _ in range(50):
            await worker.store(task_id, "PROGRESS", {"current": 1, "message": "x" * 60_000})
        return len(client.app[parts.WATCHING].watch.notices) == 0

    await eventually(given_up, timeout_s=20)
    response.connection.transport.resume_reading()
    events = await source.rest()

    assert events[-1]["event"] == "error"
    assert events[-1]["data"]["code"] == "slow-consumer"


async def test_shutting_down_ends_event_streams(watching, issue):
    response = await watching.get(f"/v1/tasks/{issue()}/stream")
    source = Source(response)
    await source.next()
    await watching.app.shutdown()

    assert await source.rest() == []


async def test_shutting_down_ends_waits_with_the_state_as_it_is(watching, issue):
    notices = watching.app[parts.WATCHING].watch.notices
    task_id = issue()
    waiting = asyncio.create_task(watching.get(f"/v1/tasks/{task_id}?wait=60"))
    await eventually(lambda: len(notices) == 1)
    async with asyncio.timeout(5):
        await watching.app.shutdown()
        answers = [await waiting, await watching.get(f"/v1/tasks/{task_id}?wait=60")]

    assert [(await answer.json())["state"] for answer in answers] == ["PENDING", "PENDING"]


async def test_redis_away_and_back_is_a_gap_for_event_streams(watching, issue, worker):
    task_id = issue()
    source = Source(await watching.get(f"/v1/tasks/{task_id}/stream"))
    await source.next()
    for client in await worker.client.client_list(_type="pubsub"):
        await worker.client.client_kill_filter(_id=client["id"])
    await worker.succeed(task_id)

    assert [event["event"] for event in await source.rest()] == ["gap", "state"]


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (None, True),
        ("http://{own}", True),
        ("https://{own}", True),  # behind a proxy that ends TLS
        ("https://good.example", True),
        ("https://evil.example", False),
        ("http://good.example", False),
        ("https://good.example.evil.example", False),
        ("null", False),
        ("http://{own}.evil.example", False),
        ("http://[", False),
    ],
)
async def test_pages_of_other_origins_are_refused(make_watching_gateway, origin, allowed):
    client = await make_watching_gateway(allowed_origins=("https://good.example",))
    task_id = client.app[parts.ACCESS].task_ids.issue("anonymous")
    own = f"{client.host}:{client.port}"
    headers = {} if origin is None else {"Origin": origin.format(own=own)}
    events = await client.get(f"/v1/tasks/{task_id}/stream", headers=headers)

    if allowed:
        async with client.ws_connect(f"/v1/stream?ids={task_id}", headers=headers) as ws:
            assert (await Stream(ws).next())["state"] == "PENDING"
        assert events.status == 200
        unknown = await client.get("/v1/tasks/no-id-of-ours/stream", headers=headers)
        last = {"Last-Event-ID": "nonsense", "Accept": "text/html"}
        unwanted = await client.get(f"/v1/tasks/{task_id}/stream", headers=headers | last)
        assert (unknown.status, unwanted.status) == (404, 406)
        for answer in (events, unknown, unwanted):
            assert answer.headers.get("Access-Control-Allow-Origin") == headers.get("Origin")
            assert answer.headers["Vary"] == "Origin"
    else:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await client.ws_connect("/v1/stream", headers=headers)
        assert refused.value.status == 403
        assert events.status == 403
        assert "Access-Control-Allow-Origin" not in events.headers
        assert (await events.json())["code"] == "forbidden-origin"


async def test_any_origin_may_be_allowed(make_watching_gateway):
    client = await make_watching_gateway(allowed_origins=("*",))
    async with client.ws_connect("/v1/stream", headers={"Origin": "https://x.example"}) as ws:
        await ws.send_json({"op": "ping"})
        assert await Stream(ws).next() == {"type": "pong"}
