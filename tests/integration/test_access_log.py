"""One line for each request, whoever refused it, and its id in the lines of the worker."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from gateway.api import parts
from tests.deployment.sockets import Socket
from tests.deployment.workers import Deployment
from tests.support.waiting import eventually


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture):
    """The lines so far."""
    caplog.set_level(logging.INFO, logger="gateway.access")

    def read() -> list[dict[str, Any]]:
        return [
            json.loads(line)
            for record in caplog.records
            if record.name == "gateway.access"
            for line in vars(record)["lines"]
        ]

    return read


async def line_of(lines, request_id: str) -> dict[str, Any]:
    """The one line of a request."""

    def found() -> list[dict[str, Any]]:
        return [line for line in lines() if line["request_id"] == request_id]

    [line] = await eventually(found)
    assert line.pop("time").endswith("Z")
    assert line.pop("ms", 0) >= 0
    del line["level"], line["event"], line["logger"]
    return line


async def test_each_request_has_one_line_with_its_caller(make_keyed_gateway, lines):
    gateway = await make_keyed_gateway()

    async def get(path: str, name: str = "reader", **headers: str) -> None:
        async with gateway.get(path, headers={**gateway.as_(name), **headers}) as answer:
            await answer.read()

    await get("/v1/tasks/0?nonsense=1", **{"X-Request-Id": "one"})
    await get("/v1/nowhere/at/all", **{"X-Request-Id": "two"})
    await get("/v1/topology", "stranger", **{"X-Request-Id": "three"})
    answer = await gateway.get("/healthz", headers={"X-Request-Id": 'no"good'})
    await gateway.get("/healthz", headers={"X-Request-Id": "four"})

    caller = {"key": "reader", "tenant": "acme", "method": "GET", "octets_in": None}
    one = await line_of(lines, "one")
    assert one.pop("octets_out") > 50
    assert one == {**caller, "request_id": "one", "route": "/v1/tasks/{id}", "status": 400}
    two = await line_of(lines, "two")
    assert (two["route"], two["status"], two["key"]) == ("unmatched", 404, "reader")
    three = await line_of(lines, "three")
    assert (three["status"], "key" in three) == (401, False)
    assert await line_of(lines, answer.headers["X-Request-Id"])
    assert (await line_of(lines, "four"))["octets_out"] == 15


async def test_the_end_of_a_stream_and_what_is_no_request_have_lines(watching, lines):
    async with watching.ws_connect("/v1/stream", headers={"X-Request-Id": "socket"}) as socket:
        await socket.send_json({"op": "ping"})
        await socket.receive_json()
        assert not [line for line in lines() if line["request_id"] == "socket"]
    assert (await line_of(lines, "socket"))["status"] == 101

    broken = await Socket.to(watching.port)
    await broken.write(b"this is no HTTP\r\n\r\n")
    await eventually(lambda: [line for line in lines() if line["status"] == 400])
    assert lines()[-1]["code"] == "invalid-request"


async def test_what_is_answered_before_a_request_was_read_has_the_id_of_its_line(
    make_gateway, lines
):
    gateway = await make_gateway(max_connections=1, header_timeout_s=0.2)
    slow, beyond = await Socket.to(gateway.port), await Socket.to(gateway.port)
    await slow.write(b"GET /healthz HT")
    await beyond.write(b"GET /healthz HTTP/1.1\r\n\r\n")
    for socket, status in ((beyond, 503), (slow, 400)):
        answer = await socket.answer()
        assert answer.status == status
        assert (await line_of(lines, answer.headers["x-request-id"]))["status"] == status
        socket.close()


async def test_nothing_is_written_when_it_is_switched_off(make_watching_gateway, lines):
    gateway = await make_watching_gateway(access_log=False)
    await gateway.get("/healthz")

    log = gateway.app[parts.FRONT].access_log
    assert repr(log) == "<AccessLog 0 lines wait>"


@pytest.mark.parametrize("pool", ["prefork", "asyncio"])
async def test_lines_of_the_worker_and_of_a_task_have_the_id_of_the_request(
    pool: str, amqp_url: str, redis_url: str, tmp_path: Path, gateway
):
    deployment = Deployment(
        amqp_url=amqp_url, redis_url=redis_url, folder=tmp_path, app="tests.apps.traced_app"
    )
    async with deployment.worker(pool, "-Q", "default") as worker:
        body = {"task": "demo.log_own", "args": ["hello"], "options": {"queue": "default"}}
        answer = await gateway.post("/v1/tasks", json=body, headers={"X-Request-Id": "req-7"})
        task_id = (await answer.json())["id"]
        record = await deployment.ended(task_id)
        assert record["status"] == "SUCCESS", record

        def logged() -> list[str]:
            text = worker.child.logged().decode()
            return [line for line in text.splitlines() if line.endswith("request_id=req-7")]

        await eventually(lambda: len(logged()) >= 4)

    assert any(f"demo.log_own[{task_id}] received" in line for line in logged())
    assert any("own line: hello" in line for line in logged())
    assert b"own field request_id=of-the-author\n" in worker.child.logged()
    assert any("demo.child" in line for line in logged()), "what a task starts has its id too"
    assert any(f"demo.log_own[{task_id}] succeeded" in line for line in logged())
