"""POST /v1/tasks against a real broker: what a 202 means, and that a refusal publishes nothing."""

import asyncio
import gzip
import hashlib
import json
from io import BytesIO

import aio_pika
import pytest

from devstack.rabbit import Rabbit
from gateway.api import parts
from tests.support.waiting import eventually

ADD = {"task": "demo.add", "args": [1, 2]}


async def messages(amqp_url: str, queue: str = "default") -> list[aio_pika.abc.AbstractMessage]:
    connection = await aio_pika.connect(amqp_url)
    async with connection:
        channel = await connection.channel(publisher_confirms=False)
        source = await channel.get_queue(queue)
        found: list[aio_pika.abc.AbstractMessage] = []
        while (message := await source.get(fail=False)) is not None:
            await message.ack()
            found.append(message)
        return found


async def test_a_202_names_a_message_that_is_in_its_queue(gateway, amqp_url):
    response = await gateway.post("/v1/tasks", json=ADD)
    receipt = await response.json()

    assert response.status == 202
    assert response.headers["Location"] == f"/v1/tasks/{receipt['id']}" == receipt["links"]["self"]
    assert receipt["state"] == "PENDING"
    assert receipt["queues"] == ["default"]
    assert receipt["tracked"] is True
    [message] = await messages(amqp_url)
    assert message.message_id == receipt["id"]
    assert message.headers["task"] == "demo.add"
    assert json.loads(message.body)[:2] == [[1, 2], {}]
    assert message.delivery_mode == aio_pika.DeliveryMode.PERSISTENT


async def test_a_receipt_and_the_state_tell_the_same_time(gateway):
    for task in (ADD, {**ADD, "options": {"countdown": 60}}):
        receipt = await (await gateway.post("/v1/tasks", json=task)).json()
        state = await (await gateway.get(receipt["links"]["self"])).json()

        assert state["accepted_at"] == receipt["accepted_at"]


async def test_a_method_that_is_not_allowed_publishes_nothing_and_says_so(gateway):
    response = await gateway.put("/v1/tasks", json=ADD)
    problem = await response.json()

    assert (response.status, problem["code"]) == (405, "method-not-allowed")
    assert (response.headers["Allow"], problem["queued"]) == ("GET,HEAD,POST", "no")


async def test_options_reach_the_message(gateway, amqp_url):
    options = {
        "queue": "ranked", "priority": 4, "expires": 60, "time_limit": 30,
        "soft_time_limit": 25, "ignore_result": True, "headers": {"tenant": "a", "n": 7},
    }  # fmt: skip
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    response = await gateway.post(
        "/v1/tasks", json={**ADD, "options": options}, headers={"traceparent": trace}
    )
    receipt = await response.json()

    assert receipt["queues"] == ["ranked"]
    assert receipt["tracked"] is False
    assert "state" not in receipt
    [message] = await messages(amqp_url, "ranked")
    assert message.priority == 4
    assert repr(message.headers["timelimit"]) == "[30, 25]"
    assert message.headers["timelimit"] == [30, 25]
    assert message.headers["ignore_result"] is True
    assert message.headers["tenant"] == "a"
    assert message.headers["n"] == 7
    assert message.headers["traceparent"] == trace
    assert message.headers["expires"] is not None
    assert message.expiration is not None


@pytest.mark.bare_vhost
async def test_a_message_for_several_queues_is_not_tracked(make_gateway, tmp_path, amqp_url):
    layout = tmp_path / "layout.toml"
    layout.write_text(
        """
        [exchanges.events]
        type = "topic"
        publishable = true
        [queues.a]
        bindings = [{ exchange = "events", key = "x.#" }]
        [queues.b]
        bindings = [{ exchange = "events", key = "x.*" }]
        [[routes]]
        task = "demo.*"
        exchange = "events"
        routing_key = "x.y"
        """
    )
    gateway = await make_gateway(topology_file=layout)

    receipt = await (await gateway.post("/v1/tasks", json=ADD)).json()

    assert (receipt["queues"], receipt["tracked"]) == (["a", "b"], False)
    assert len(await messages(amqp_url, "a")) == len(await messages(amqp_url, "b")) == 1


async def test_a_delayed_task_arrives_after_its_time(gateway, amqp_url):
    loop = asyncio.get_running_loop()
    started = loop.time()
    response = await gateway.post("/v1/tasks", json={**ADD, "options": {"countdown": 1.2}})
    assert response.status == 202

    while not (found := await messages(amqp_url)):
        assert loop.time() - started < 8
        await asyncio.sleep(0.05)

    assert loop.time() - started >= 1.2
    assert found[0].headers["eta"] is not None
    assert found[0].expiration is None


REFUSALS = [
    (b"no", 400, "malformed-json"),
    (b'{"task": "\xff"}', 400, "malformed-json"),
    (b'{"task":"demo.add","args":' + b"[" * 200_000 + b"}", 400, "malformed-json"),
    (b"[]", 400, "invalid-request"),
    (b'{"task": "demo.add", "more": 1}', 400, "invalid-request"),
    (b'{"task": "nobody.knows"}', 404, "unknown-task"),
    (b'{"task": "demo.add", "options": {"queue": "nope"}}', 404, "unknown-queue"),
    (b'{"task": "demo.add", "options": {"exchange": "nope"}}', 404, "unknown-exchange"),
    (b'{"task": "demo.add", "options": {"exchange": "dead"}}', 403, "forbidden"),
    (
        b'{"task": "demo.add", "options": {"exchange": "tasks", "routing_key": "nowhere"}}',
        422,
        "unroutable",
    ),
    (
        b'{"task": "demo.add", "options": {"countdown": 1, "eta": "2030-01-01T00:00:00Z"}}',
        400,
        "invalid-request",
    ),
    (
        b'{"task": "demo.add", "options": {"countdown": 1, "exchange": "events", "routing_key":'
        b'"documents.' + b"x" * 200 + b'"}}',
        400,
        "invalid-request",
    ),
    (b'{"task": "demo.add", "options": {"headers": {"task": "x"}}}', 400, "invalid-request"),
    (
        b'{"task": "demo.add", "args": ["' + b"x" * (1 << 20) + b'"]}',
        413,
        "body-too-large",
    ),
]


async def test_a_refusal_is_a_problem_and_publishes_nothing(gateway, amqp_url):
    for body, status, code in REFUSALS:
        response = await gateway.post(
            "/v1/tasks", data=BytesIO(body), headers={"Content-Type": "application/json"}
        )
        problem = await response.json()

        assert response.content_type == "application/problem+json", code
        assert (response.status, problem["status"], problem["code"]) == (status, status, code)
        assert problem["queued"] == "no"
        assert "id" not in problem
        if status in {400, 422}:
            assert problem["errors"][0]["at"].startswith("$"), code
        assert response.headers["X-Request-Id"]
    assert await messages(amqp_url) == []


async def test_gzip_is_undone_and_a_bomb_is_refused_by_its_expanded_size(gateway, amqp_url):
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    good = await gateway.post(
        "/v1/tasks", data=gzip.compress(json.dumps(ADD).encode()), headers=headers
    )
    bomb = await gateway.post("/v1/tasks", data=gzip.compress(b" " * 50_000_000), headers=headers)
    broken = await gateway.post("/v1/tasks", data=b"\x1f\x8b nonsense", headers=headers)
    other = await gateway.post(
        "/v1/tasks", data=b"x", headers={**headers, "Content-Encoding": "br"}
    )

    assert [r.status for r in (good, bomb, broken, other)] == [202, 413, 400, 415]
    assert len(await messages(amqp_url)) == 1


async def test_another_media_type_is_refused(gateway):
    response = await gateway.post(
        "/v1/tasks", data=json.dumps(ADD), headers={"Content-Type": "text/plain"}
    )

    assert (response.status, (await response.json())["code"]) == (415, "unsupported-media-type")


async def test_what_no_path_takes_is_refused(gateway):
    for method, path, body in (
        ("DELETE", "/v1/tasks/x", {"terminate": True}),
        ("POST", "/v1/queues/default/pause", [1]),
        ("GET", "/v1/tasks/x?wait=1&wait=2", None),
    ):
        response = await gateway.request(method, path, json=body)

        assert (response.status, (await response.json())["code"]) == (400, "invalid-request"), path
    for body in ({}, None):
        response = await gateway.post("/v1/queues/nobody/pause", json=body)
        assert response.status == 404


async def test_no_cache_may_keep_a_state_or_its_absence(gateway):
    for path in ("/v1/tasks/x", "/v1/topology", "/nowhere"):
        response = await gateway.get(path)
        assert response.headers["Cache-Control"] == "no-store"


async def test_half_a_surrogate_pair_is_named(gateway):
    body = b'{"task":"demo.echo","args":["\\ud800"]}'
    response = await gateway.post(
        "/v1/tasks", data=body, headers={"Content-Type": "application/json"}
    )

    assert response.status == 400
    assert "surrogate" in (await response.json())["detail"]


async def test_a_wrong_method_is_told_the_right_ones(gateway):
    for method, path, right in (
        ("PUT", "/v1/tasks", "GET,HEAD,POST"),
        ("GET", "/v1/tasks/bulk", "POST"),
        ("DELETE", "/v1/tasks/status", "POST"),
        ("PATCH", "/v1/tasks/x", "DELETE,GET,HEAD"),
    ):
        response = await gateway.request(method, path, headers={"Idempotency-Key": "k"})

        assert (response.status, response.headers["Allow"]) == (405, right), path
        assert (await response.json())["code"] == "method-not-allowed"


async def test_an_expectation_is_met_and_an_unknown_one_ignored(gateway, amqp_url):
    met = await gateway.post("/v1/tasks", json=ADD, expect100=True)
    other = await gateway.post("/v1/tasks", json=ADD, headers={"Expect": "200-ok"})

    assert (met.status, other.status) == (202, 202)
    assert len(await messages(amqp_url)) == 2


async def test_wait_is_seconds_up_to_sixty(gateway, amqp_url):
    exact = await gateway.post("/v1/tasks/status?wait=0.30000000000000004", json={"ids": []})
    assert exact.status == 200
    for wait in ("61", "-1", "x", "1e1", "", "%D9%A3"):
        response = await gateway.post(f"/v1/tasks?wait={wait}", json=ADD)

        assert response.status == 400
    assert await messages(amqp_url) == []


async def test_keys_decide_what_may_be_submitted(make_gateway, tmp_path):
    def key(clear: str) -> str:
        return hashlib.sha256(clear.encode()).hexdigest()

    keys = tmp_path / "keys.toml"
    keys.write_text(
        f"""
        [[key]]
        name = "demos"
        sha256 = "{key("d")}"
        scopes = ["submit"]
        queues = ["default"]
        [[key]]
        name = "reader"
        sha256 = "{key("r")}"
        scopes = ["read"]
        [[key]]
        name = "root"
        sha256 = "{key("a")}"
        scopes = ["admin"]
        """
    )
    gateway = await make_gateway(keys_file=keys)

    async def submit(clear: str | None, **body: object) -> tuple[int, str | None]:
        headers = {"Authorization": f"Bearer {clear}"} if clear else {}
        response = await gateway.post("/v1/tasks", json={**ADD, **body}, headers=headers)
        return response.status, (await response.json()).get("code")

    assert await submit(None) == (401, "unauthenticated")
    assert await submit("wrong") == (401, "unauthenticated")
    assert await submit("r") == (403, "forbidden")
    assert await submit("d") == (202, None)
    assert await submit("d", options={"queue": "high_priority"}) == (403, "forbidden")
    script = {"task": "scripts.run", "args": ["hello.sh"]}
    assert await submit("d", **script) == (403, "forbidden")
    assert await submit("a", **script) == (202, None)


async def test_request_ids_are_echoed_when_sane(gateway):
    sane = await gateway.get("/healthz", headers={"X-Request-Id": "abc-1"})
    insane = await gateway.get("/healthz", headers={"X-Request-Id": "a" * 500})

    assert sane.headers["X-Request-Id"] == "abc-1"
    assert len(insane.headers["X-Request-Id"]) < 100


async def test_draining_refuses_new_work_and_says_so(gateway):
    gateway.app[parts.INTAKE].drain.started = True
    submit = await gateway.post("/v1/tasks", json=ADD)
    ready = await gateway.get("/readyz")

    assert (submit.status, (await submit.json())["code"]) == (503, "draining")
    assert submit.headers["Retry-After"]
    assert ready.status == 503


async def test_no_broker_is_a_prompt_503(make_gateway, tmp_path):
    server = Rabbit(tmp_path)  # the session's has other tests' queues to recover
    await server.start()
    try:
        gateway = await make_gateway(amqp_url=server.url)
        await server.settle()
        await server.kill()
        async with asyncio.timeout(6):
            first = await gateway.post("/v1/tasks", json=ADD)
            while first.status != 503:
                first = await gateway.post("/v1/tasks", json=ADD)
        assert (await first.json())["code"] == "broker-unavailable"
        assert first.headers["Retry-After"]
        assert (await gateway.get("/readyz")).status == 503
        await server.start()
        async with asyncio.timeout(30):
            while (await gateway.post("/v1/tasks", json=ADD)).status != 202:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
    finally:
        await server.kill()
        await server.stop()


async def test_an_alarm_is_a_prompt_503_until_it_ends(gateway, rabbit, caplog):
    caplog.set_level("INFO", logger="gateway.rabbitmq.publisher")
    publisher = gateway.app[parts.BROKER].publisher
    try:
        await watermark(rabbit, "absolute", "1MB")
        first = await gateway.post("/v1/tasks", json=ADD)  # only a publish learns of the alarm
        told = await first.json()
        assert (first.status, told["code"], told["queued"]) == (504, "unconfirmed", "unknown")
        assert told["id"]

        second = await gateway.post("/v1/tasks", json=ADD)
        told = await second.json()
        assert (second.status, told["code"], told["queued"]) == (503, "broker-blocked", "no")
        assert "id" not in told
        assert int(second.headers["Retry-After"]) >= 1
        assert (await gateway.get("/readyz")).status == 503
        await eventually(lambda: "publisher-blocked" in caplog.messages)
    finally:
        await watermark(rabbit, "0.4")

    await eventually(lambda: publisher.state == "ready", timeout_s=10)
    await eventually(lambda: "publisher-unblocked" in caplog.messages)
    assert (await gateway.post("/v1/tasks", json=ADD)).status == 202


async def watermark(rabbit: Rabbit, *limit: str) -> None:
    """Set how much memory RabbitMQ may take before it raises an alarm."""
    command = rabbit.ctl("set_vm_memory_high_watermark", *limit)
    process = await asyncio.create_subprocess_exec(
        *command, env=rabbit.child.env, stdout=asyncio.subprocess.DEVNULL
    )
    assert await process.wait() == 0
