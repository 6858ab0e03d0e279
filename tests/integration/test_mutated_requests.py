"""Requests that are nearly right get a documented answer, and `queued` is the truth.

What arrives in the queues is consumed and held against the receipts: nothing that was refused may
be there, and everything accepted must be JSON that a worker reads.
"""

import json
import math
import re
from typing import Any

import aio_pika
import pytest
from aiohttp import WSMsgType
from hypothesis import HealthCheck, example, given, settings

from gateway.api import parts
from gateway.errors import REFUSALS
from tests.support.mutations import Request, frames, requests
from tests.support.raw_http import Answer, exchange
from tests.support.waiting import eventually

SUBMITS = frozenset(
    (
        "/v1/tasks", "/v1/tasks/bulk", "/v1/canvas", "/v1/ingest/{collection}", "/v1/broadcast",
        "/v1/schedules/{name}/run",
    )
)  # fmt: skip
ANYWHERE = frozenset(("not-found", "method-not-allowed"))
FRAME_ERRORS = frozenset(
    (
        "malformed-json", "invalid-request", "unknown-task-id", "too-many-ids", "body-too-large",
    )
)  # fmt: skip
TOLD = frozenset(("state", "log", "gap", "error", "pong"))
always = settings(
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


class Receipts:
    """What clients were promised, and what came into the queues."""

    def __init__(self) -> None:
        self.promised: set[str] = set()
        self.unnamed = 0
        """Accepted by an answer that tells no ids."""
        self.arrived: dict[str, bytes] = {}
        self.unreadable: list[bytes] = []

    def __repr__(self) -> str:
        return f"<Receipts {len(self.promised)} promised, {len(self.arrived)} arrived>"

    async def take(self, message: aio_pika.abc.AbstractIncomingMessage) -> None:
        self.arrived[str(message.headers["id"])] = message.body
        try:
            _require_finite(json.loads(message.body))
        except (ValueError, RecursionError):
            self.unreadable.append(message.body)

    def check(self) -> None:
        """Nothing was published that was not told, or that a worker could not read."""
        unreadable, self.unreadable = self.unreadable, []
        untold = [body for task_id, body in self.arrived.items() if task_id not in self.promised]
        assert not unreadable
        assert len(untold) <= self.unnamed, untold


def _require_finite(value: Any) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(value)
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for one in inner:
        _require_finite(one)


@pytest.fixture
async def receipts(gateway, amqp_url):
    """Receipts of the requests of one test; settled and checked at its end."""
    receipts = Receipts()
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        for name in gateway.app[parts.TOPOLOGY].queues:
            queue = await channel.get_queue(name)
            await queue.consume(receipts.take, no_ack=True)
        yield receipts
        last = await (await gateway.post("/v1/tasks", json={"task": "periodic.heartbeat"})).json()
        receipts.promised.add(last["id"])
        await eventually(lambda: last["id"] in receipts.arrived, timeout_s=10)
        receipts.check()


class Documented(dict[tuple[str, str], dict[int, tuple[frozenset[str], frozenset[str]]]]):
    """(method, path) → status → (media types, codes)."""

    def __repr__(self) -> str:
        return "<Documented>"


@pytest.fixture
async def documented(gateway):
    document = await (await gateway.get("/openapi.json")).json()
    return Documented(
        {
            (method.upper(), path): {
                int(status): (
                    frozenset(answer.get("content", ())),
                    frozenset(re.findall(r"`([a-z-]+)`: ", answer["description"])),
                )
                for status, answer in operation["responses"].items()
            }
            for path, methods in document["paths"].items()
            for method, operation in methods.items()
        }
    )


def submit(rest: str) -> Request:
    body = f'{{"task": "periodic.heartbeat", {rest}}}'.encode()
    return Request("/v1/tasks", "POST", b"/v1/tasks", b"", (), body)


@always
@given(request=requests())
@example(submit(f'"args": [{"1" * 400}.5]'))
@example(submit(f'"args": [{"1" * 5000}]'))
@example(submit(f'"options": {{"exchange": "events", "routing_key": "documents.{"é" * 200}"}}'))
async def test_a_request_nearly_right_is_accepted_or_refused_as_documented(
    gateway, receipts, documented, request
):
    answer = await exchange(gateway.port, request.wire())

    if answer.version == 10:  # not HTTP: refused below the application
        assert answer.status == 400
        return
    assert answer.headers["X-Request-Id"]
    if answer.status >= 400:
        check_refusal(answer, request, documented)
    elif answer.status >= 200:
        told = documented[request.method, request.route]
        assert answer.status in told
        assert not answer.body or answer.content_type in told[answer.status][0]
        promise(receipts, request, answer)
    receipts.check()


def check_refusal(answer: Answer, request: Request, documented: Any) -> None:
    assert answer.status != 500, answer.body
    assert answer.content_type == "application/problem+json"
    problem = answer.json()
    code = problem["code"]
    assert REFUSALS[code][0] == answer.status == problem["status"]
    if answer.status in {429, 503}:
        assert int(answer.headers["Retry-After"]) > 0
    if code in ANYWHERE:
        return
    _, codes = documented[request.method, request.route][answer.status]
    assert code in codes
    if request.route in SUBMITS:
        assert problem["queued"] == "no"
        assert "id" not in problem
    if answer.status == 422 or code == "invalid-request":
        for fault in problem.get("errors", ()):
            assert fault["at"]
            assert fault["detail"]


def promise(receipts: Receipts, request: Request, answer: Answer) -> None:
    if request.route not in SUBMITS or answer.status == 204:
        return
    told = answer.json()
    for one in told if isinstance(told, list) else [told]:
        if "summary" in one:
            accepted = one["summary"]["accepted"]
            receipts.unnamed += accepted
            continue
        if one.get("queued", "no") != "no":
            raise AssertionError(one)
        receipts.promised |= {one.get("id", ""), *one.get("batches", ())}
        if isinstance(one.get("ids"), list) and request.route == "/v1/canvas":
            receipts.promised |= set(one["ids"])


@always
@given(frame=frames())
async def test_a_frame_nearly_right_is_answered_and_the_socket_lives(gateway, frame):
    async with gateway.ws_connect("/v1/stream", protocols=["penstock.v1"]) as socket:
        await socket.send_frame(frame, WSMsgType.TEXT)
        await socket.send_frame(frame[:1000], WSMsgType.BINARY)
        await socket.send_json({"op": "ping"})
        pongs = 0
        wanted = 2 if _pings(frame) else 1
        while pongs < wanted:
            message = await socket.receive_json(timeout=10)
            assert message["type"] in TOLD
            if message["type"] == "error":
                assert message["code"] in FRAME_ERRORS
            pongs += message["type"] == "pong"


def _pings(frame: bytes) -> bool:
    try:
        value = json.loads(frame)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and value.get("op") == "ping" and value.keys() <= {"op", "ids"}
