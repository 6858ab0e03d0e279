"""The main job, over HTTP only, against everything: what the README promises a stranger."""

import asyncio
import json
from typing import Any

import aiohttp
import pytest
from celery import Celery
from pymongo import AsyncMongoClient

from tasks.app import build_app
from tasks.config import WorkerConfig
from tests.support.waiting import eventually
from topology.layout import load_from_env

NDJSON = {"Content-Type": "application/x-ndjson"}


async def submit(http: aiohttp.ClientSession, task: str, *args: Any, **options: Any) -> str:
    body = {"task": task, "args": args, "options": options}
    async with http.post("/v1/tasks", json=body) as response:
        answer = await response.json()
        assert response.status == 202, answer
        return str(answer["id"])


async def state(http: aiohttp.ClientSession, task_id: str, wait_s: float = 20) -> dict[str, Any]:
    async with http.get(f"/v1/tasks/{task_id}", params={"wait": wait_s}) as response:
        assert response.status == 200, await response.text()
        return await response.json()


async def test_a_task_runs_and_its_result_is_read(http):
    task_id = await submit(http, "demo.add", 1, 2)

    ended = await state(http, task_id)
    assert ended["state"] == "SUCCESS"
    assert ended["result"] == 3
    assert ended["task"] == "demo.add"
    assert ended["accepted_at"] <= ended["started_at"] <= ended["finished_at"]
    assert ended["worker"]
    assert ended["retries"] == 0
    async with http.get(f"/v1/tasks/{task_id}/result") as response:
        assert (response.status, await response.json()) == (200, 3)


async def test_wait_on_submit_answers_with_the_end(http):
    body = {"task": "demo.add", "args": [20, 22]}
    async with http.post("/v1/tasks", params={"wait": 20}, json=body) as response:
        assert response.status == 200
        assert (await response.json())["result"] == 42


async def test_states_come_in_order_from_pending_to_success(http):
    task_id = await submit(http, "demo.progress", 3, 0.1, countdown=1)
    assert (await state(http, task_id, 0))["state"] == "PENDING"
    seen: list[str] = []
    async with http.get(f"/v1/tasks/{task_id}/stream") as response:
        assert response.content_type == "text/event-stream"
        async for line in response.content:
            if line.startswith(b"data:"):
                event = json.loads(line[5:])
                if "state" in event and (not seen or seen[-1] != event["state"]):
                    seen.append(event["state"])

    assert seen == ["PENDING", "STARTED", "PROGRESS", "SUCCESS"]


async def test_a_failure_tells_type_and_message(http):
    ended = await state(http, await submit(http, "demo.fail", "as asked"))

    assert ended["state"] == "FAILURE"
    assert ended["error"]["message"] == "as asked"
    assert ended["error"]["type"]


async def test_a_retried_task_tells_its_attempts(http):
    ended = await state(http, await submit(http, "demo.flaky", 2), 30)

    assert (ended["state"], ended["result"], ended["retries"]) == ("SUCCESS", 3, 2)


async def test_arguments_are_checked_against_what_workers_announced(http):
    async def code() -> Any:
        body = {"task": "demo.add", "args": ["x", 2]}
        async with http.post("/v1/tasks", json=body) as response:
            return (await response.json()).get("code"), (await response.json()).get("errors")

    found = await eventually(lambda: _is_refused(code), timeout_s=20)
    assert found[0]["at"] == "$.args[0]"


async def _is_refused(code: Any) -> Any:
    name, errors = await code()
    return errors if name == "invalid-arguments" else None


async def test_documents_sent_twice_are_stored_once(http, stack):
    lines = b"".join(b'{"n": %d, "name": "x%d"}\n' % (n, n) for n in range(1000))
    path = "/v1/ingest/once?key=n&ack=stored&wait=20"
    answers = []
    for _ in range(2):
        async with http.post(path, data=lines, headers=NDJSON) as response:
            answers.append((response.status, await response.json()))

    assert [status for status, _ in answers] == [200, 200], answers
    assert [body["stored"] for _, body in answers] == [1000, 1000]
    assert [body["duplicates"] for _, body in answers] == [0, 1000]
    client: AsyncMongoClient[Any] = AsyncMongoClient(stack.mongo_url)
    async with client:
        assert await client.get_default_database()["once"].count_documents({}) == 1000


async def test_the_websocket_tells_what_ended_before_and_what_runs_after(http):
    before = await submit(http, "demo.add", 1, 1)
    await state(http, before)
    finals: dict[str, str] = {}
    async with http.ws_connect("/v1/stream", protocols=["penstock.v1"]) as socket:
        after = await submit(http, "demo.sleep", 0.2)
        await socket.send_json({"op": "subscribe", "ids": [before, after]})
        async with asyncio.timeout(20):
            while len(finals) < 2:
                event = await socket.receive_json()
                if event["type"] == "state" and event["state"] in {"SUCCESS", "FAILURE"}:
                    assert event["id"] not in finals
                    finals[event["id"]] = event["state"]

    assert finals == {before: "SUCCESS", after: "SUCCESS"}


async def test_a_script_runs_and_streams_its_output(http):
    body = {"task": "scripts.run", "args": ["hello.sh"]}
    async with http.post("/v1/tasks", params={"wait": 20}, json=body) as response:
        ended = await response.json()

    assert ended["state"] == "SUCCESS", ended
    assert ended["result"]["exit_code"] == 0
    resumed = {"Last-Event-ID": "0-0"}
    async with http.get(f"/v1/tasks/{ended['id']}/stream", headers=resumed) as stream:
        lines = [
            json.loads(line[5:])["line"]
            async for line in stream.content
            if line.startswith(b"data:") and b'"line"' in line
        ]
    assert lines


@pytest.fixture
def celery_app(stack):
    """What `from tasks.worker import app` gives, with the stack's addresses."""
    app = build_app(WorkerConfig.from_env(stack.env), load_from_env(stack.env))
    yield app
    app.close()


def celerys_way(app: Celery, task_id: str) -> tuple[Any, str]:
    """Read one result and submit another task; then close this thread's backend by hand."""
    try:
        read = app.AsyncResult(task_id).get(timeout=20)
        sent = app.send_task("demo.add", (5, 6), queue="default")
        sent.get(timeout=20)
        return read, str(sent.id)
    finally:
        app.backend.result_consumer.stop()
        app.backend.client.connection_pool.disconnect()


async def test_celerys_own_client_reads_what_the_gateway_submitted_and_the_reverse(
    http, celery_app
):
    task_id = await submit(http, "demo.add", 3, 4)
    read, sent = await asyncio.to_thread(celerys_way, celery_app, task_id)

    assert read == 7
    assert (await state(http, sent))["result"] == 11
