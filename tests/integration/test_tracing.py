"""One trace from the request to the last task, as a real OTLP receiver gets it."""

import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from devstack.children import Child
from devstack.otlp import Receiver, Span, receiving
from devstack.ports import free_port
from devstack.product import ROOT
from devstack.programs import child_environment
from tests.deployment.workers import Deployment
from tests.support.waiting import eventually

SERVER, CLIENT, PRODUCER, CONSUMER = 2, 3, 4, 5
CALLER = ("0" * 31 + "7", "0" * 15 + "1")
"""Trace and span of the client."""
TRACED = {
    "traceparent": f"00-{CALLER[0]}-{CALLER[1]}-01",
    "tracestate": "vendor=a1",
    "baggage": "user=alice",
}


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as found:
        yield found


class Traced:
    """A gateway as a process, and a worker, both of which export."""

    def __init__(self, deployment: Deployment, session: aiohttp.ClientSession) -> None:
        self.deployment = deployment
        self._session = session

    async def post(self, path: str, json: Any, **headers: str) -> dict[str, Any]:
        async with self._session.post(path, json=json, headers=headers) as answer:
            assert answer.status in {200, 202}, await answer.text()
            found: dict[str, Any] = await answer.json()
            return found

    async def put(self, path: str, json: Any, **headers: str) -> None:
        async with self._session.put(path, json=json, headers=headers) as answer:
            assert answer.status in {200, 201}, await answer.text()

    async def state(self, task_id: str) -> dict[str, Any]:
        async with self._session.get(f"/v1/tasks/{task_id}?wait=20") as answer:
            found: dict[str, Any] = await answer.json()
            return found

    async def submit(self, task: str, callback: str | None = None, **headers: str) -> str:
        options = {"queue": "default"} | ({"callback_url": callback} if callback else {})
        body = {"task": task, "options": options}
        return str((await self.post("/v1/tasks", body, **headers))["id"])


@pytest.fixture
async def traced(
    request: pytest.FixtureRequest, receiver: Receiver, amqp_url: str, redis_url: str,
    mongo_url: str, tmp_path: Path,
) -> AsyncIterator[Traced]:  # fmt: skip
    pool, more = getattr(request, "param", ("asyncio", {}))
    env = {
        "TRACING": "1", "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
        "OTEL_BSP_SCHEDULE_DELAY": "100", "MONGO_URL": mongo_url, **more,
    }  # fmt: skip
    deployment = Deployment(
        amqp_url=amqp_url,
        redis_url=redis_url,
        folder=tmp_path,
        app="tests.apps.traced_app",
        env=env,
    )
    port = free_port()
    gateway = Child(
        "gateway", [sys.executable, "-m", "gateway"], log=tmp_path / "gateway.log", cwd=ROOT,
        env=child_environment(
            **env, AMQP_URL=amqp_url, REDIS_URL=redis_url, GATEWAY_PORT=str(port),
            TRACE_URL="https://traces.example/trace/{trace_id}",
            CALLBACK_HOSTS="127.0.0.1", CALLBACK_ALLOW_PRIVATE="1", CALLBACK_SECRET="s",
        ),
    )  # fmt: skip
    gateway.spawn()
    try:
        async with (
            deployment.worker(pool, "-Q", "default,mongo_queue"),
            aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session,
        ):

            async def ready() -> bool:
                try:
                    async with session.get("/readyz") as answer:
                        return answer.status == 200
                except aiohttp.ClientError:
                    return False

            await eventually(ready, 30)
            yield Traced(deployment, session)
    finally:
        await gateway.stop(10)


def named(spans: dict[str, Span], name: str) -> list[Span]:
    return [span for span in spans.values() if span.name == name]


async def tree(receiver: Receiver, trace_id: str, names: dict[str, int]) -> dict[str, Span]:
    """Wait for so many spans of each name; all of the trace must be one tree, below the caller."""

    def whole() -> dict[str, Span]:
        spans = receiver.of(trace_id)
        found = Counter(span.name for span in spans.values())
        assert found == names, found
        return spans

    return await eventually(whole, 15)


@pytest.mark.parametrize(
    "traced",
    [pytest.param(("threads", {}), marks=pytest.mark.long), ("prefork", {}), ("asyncio", {})],
    indirect=True,
    ids=["threads", "prefork", "asyncio"],
)
async def test_a_canvas_a_retry_what_tasks_start_and_a_batch_are_one_tree(
    traced: Traced, receiver: Receiver
):
    at = {"options": {"queue": "default"}}
    tasks = [{"task": "demo.function", **at}, {"task": "demo.coroutine", **at}]
    canvas = await traced.post("/v1/canvas", {"chain": tasks}, **TRACED)
    last = await traced.state(canvas["id"])
    assert last["result"] == "alice", "the baggage of the request"
    assert last["trace_id"] == CALLER[0]
    answer = await traced.post("/v1/ingest/traced?ack=stored", {"n": 1}, **TRACED)
    assert answer["stored"] == 1

    spans = await tree(
        receiver,
        CALLER[0],
        {
            "POST /v1/canvas": 1, "publish demo.function": 2, "execute demo.function": 2,
            "own function": 2, "publish demo.coroutine": 1, "execute demo.coroutine": 1,
            "own coroutine": 1, "publish demo.child": 2, "execute demo.child": 2,
            "POST /v1/ingest/{collection}": 1, "publish documents.store": 1,
            "execute documents.store": 1, "insert traced": 1,
        },
    )  # fmt: skip
    outside = [span for span in spans.values() if span.parent_id not in spans]
    assert {span.parent_id for span in outside} == {CALLER[1]}
    assert {span.name for span in outside} == {"POST /v1/canvas", "POST /v1/ingest/{collection}"}
    for span in spans.values():
        assert span.state == "vendor=a1", span
        if span.name.startswith("execute"):
            assert (span.kind, span.service) == (CONSUMER, "penstock-worker")
            assert span.links == ((span.trace_id, span.parent_id),)
            assert spans[span.parent_id].name == span.name.replace("execute", "publish")
            assert spans[span.parent_id].kind == PRODUCER
    [server] = named(spans, "POST /v1/canvas")
    assert (server.kind, server.service) == (SERVER, "penstock-gateway")
    assert server.attributes["http.response.status_code"] == 202
    [insert] = named(spans, "insert traced")
    assert (insert.kind, spans[insert.parent_id].name) == (CLIENT, "execute documents.store")
    runs = named(spans, "execute demo.function")
    [again] = [one for one in runs if one.attributes["celery.retries"]]
    first = spans[spans[again.parent_id].parent_id]
    assert (first.name, first.attributes["celery.state"]) == ("execute demo.function", "RETRY")
    for own in ("function", "coroutine"):
        for span in named(spans, f"own {own}"):
            assert spans[span.parent_id].name == f"execute demo.{own}"


async def test_decisions_are_respected_failures_shown_and_clients_of_celery_understood(
    traced: Traced, receiver: Receiver
):
    unsampled = {**TRACED, "traceparent": f"00-{'1' * 32}-{CALLER[1]}-00"}
    quiet = await traced.submit("demo.coroutine", **unsampled)
    assert "trace_id" not in await traced.state(quiet)
    trace_id = "2" * 32
    header = {"traceparent": f"00-{trace_id}-{CALLER[1]}-01"}
    broken = traced.deployment.publish("demo.broken", extra=header)
    assert (await traced.deployment.ended(broken))["status"] == "FAILURE"
    await traced.submit("demo.child")  # no context: a trace of its own
    called = {"traceparent": f"00-{'3' * 32}-{CALLER[1]}-01"}
    await traced.submit("demo.coroutine", f"{receiver.url}/done", **called)

    spans = await tree(
        receiver,
        "3" * 32,
        {
            "POST /v1/tasks": 1, "publish demo.coroutine": 1, "execute demo.coroutine": 1,
            "own coroutine": 1, "publish demo.child": 1, "execute demo.child": 1,
            "POST callback": 1,
        },
    )  # fmt: skip
    [callback] = named(spans, "POST callback")
    assert spans[callback.parent_id].name == "execute demo.coroutine"
    assert receiver.called == [f"00-{'3' * 32}-{callback.span_id}-01"]
    [failed] = (await tree(receiver, trace_id, {"execute demo.broken": 1})).values()
    assert (failed.status, failed.attributes["error.type"]) == (2, "ValueError")
    assert failed.parent_id == CALLER[1]

    def own() -> list[Span]:
        return [one for one in receiver.named("execute demo.child") if one.trace_id != "3" * 32]

    [child] = await eventually(own)
    await tree(
        receiver,
        child.trace_id,
        {"POST /v1/tasks": 1, "publish demo.child": 1, "execute demo.child": 1},
    )
    assert len(receiver.roots(child.trace_id)) == 1
    assert receiver.roots(child.trace_id)[0].parent_id == ""
    assert not receiver.of("1" * 32)
    assert len(receiver.named("execute demo.coroutine")) == 1


@pytest.mark.parametrize(
    "traced",
    [("asyncio", {"OTEL_TRACES_SAMPLER": "parentbased_always_off", "OTEL_SERVICE_NAME": "mine"})],
    indirect=True,
    ids=["always_off"],
)
async def test_what_the_sampler_leaves_out_stays_out_in_the_worker(
    traced: Traced, receiver: Receiver
):
    await traced.state(await traced.submit("demo.coroutine"))
    seen = await traced.submit("demo.child", traceparent=TRACED["traceparent"])

    await traced.state(seen)
    spans = await tree(
        receiver,
        CALLER[0],
        {"POST /v1/tasks": 1, "publish demo.child": 1, "execute demo.child": 1},
    )
    assert {span.service for span in spans.values()} == {"mine"}
    assert set(spans) == {span.span_id for span in receiver.spans}


async def test_each_run_of_a_schedule_is_a_tree_that_begins_at_beat(
    traced: Traced, receiver: Receiver
):
    schedule = {"task": "demo.coroutine", "every": 1, "options": {"queue": "default"}}
    await traced.put("/v1/schedules/seen", schedule, **TRACED)
    beat = traced.deployment.celery("beat", "beat", "-l", "info")
    beat.spawn()
    try:
        runs = await eventually(lambda: receiver.named("execute demo.coroutine")[:2], 30)
        for run in runs:
            names = ("publish demo.coroutine", "execute demo.coroutine", "own coroutine",
                     "publish demo.child", "execute demo.child")  # fmt: skip
            await tree(receiver, run.trace_id, dict.fromkeys(names, 1))
            [root] = receiver.roots(run.trace_id)
            assert (root.name, root.parent_id, root.kind) == (names[0], "", PRODUCER)
            assert root.service == "penstock-beat"
        assert runs[0].trace_id != CALLER[0], "that of the request that made the schedule"
    finally:
        await beat.stop(10)
