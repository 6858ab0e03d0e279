"""The topology, routes, queue figures and broadcasts over HTTP."""

import json
from pathlib import Path
from typing import Any

import aio_pika
import pytest

from devstack.proxy import TcpProxy
from gateway.api import parts
from gateway.config import GatewayConfig
from tests.deployment.gateway import running_gateway
from tests.support.waiting import eventually
from topology import layout

SMALL = """
[exchanges.tasks]
type = "direct"
publishable = true
[exchanges.events]
type = "topic"
publishable = true
alternate = "rest"
[exchanges.rest]
type = "fanout"
[exchanges.marked]
type = "headers"
publishable = true
[queues.small]
limit = 5
bindings = [{ exchange = "tasks", key = "small" }, { exchange = "events", key = "a.#" }]
[queues.ranked]
type = "classic"
max_priority = 9
bindings = [
    { exchange = "events", key = "*.b" },
    { exchange = "rest" },
    { exchange = "marked", arguments = { colour = "red" } },
    { exchange = "marked", arguments = { task = "demo.echo" } },
]
[[routes]]
task = "demo.*"
exchange = "tasks"
routing_key = "small"
"""


@pytest.fixture
def config(amqp_url, redis_url):
    return GatewayConfig(amqp_url=amqp_url, redis_url=redis_url)


@pytest.fixture
def small(config, tmp_path: Path):
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return {"config": config, "topology_file": path}


async def get(client: Any, path: str, status: int = 200) -> Any:
    async with client.get(path) as answer:
        body = await answer.json()
        assert answer.status == status, body
        return body


async def post(client: Any, path: str, body: Any, status: int = 200) -> Any:
    async with client.post(path, json=body) as answer:
        found = await answer.json()
        assert answer.status == status, found
        return found


async def test_the_topology_is_told_as_declared(config):
    shipped = layout.load()
    async with running_gateway(config, ready=False) as client:
        told = await get(client, "/v1/topology")
        everything = await get(client, "/v1/topology?derived=true")

    assert {one["name"] for one in told["exchanges"]} == set(shipped.exchanges)
    assert {one["name"]: one["arguments"] for one in told["queues"]} == {
        name: queue.arguments for name, queue in shipped.queues.items()
    }
    assert {"exchange": "events", "queue": "mongo_queue", "key": "documents.#"} in told["bindings"]
    assert [route["task"] for route in told["routes"]] == [one.task for one in shipped.routes]
    assert "derived" not in told
    names = {one["name"] for one in everything["derived"]["queues"]}
    assert {"default.dead", "dead.outcomes", "unrouted.dead", "penstock_delay_27"} <= names
    assert not names & set(shipped.queues)
    last = {"exchange": "penstock_delay_0", "destination_exchange": "penstock_delivery"}
    assert any(last.items() <= one.items() for one in everything["derived"]["bindings"])


@pytest.mark.bare_vhost
async def test_a_route_is_explained_for_a_task_and_for_a_key(small):
    async with running_gateway(**small) as client:

        async def ask(**question: Any) -> Any:
            return await post(client, "/v1/topology/route", question)

        await eventually(lambda: "small" in client.app[parts.BROKER].depths.depths)
        honoured = (client.app[parts.BROKER].publisher.rabbitmq_major or 0) >= 4  # by quorum queues

        task = await ask(task="demo.add")
        assert (task["exchange"], task["routing_key"], task["route"]) == (
            "tasks",
            "small",
            "demo.*",
        )
        assert task["bindings"] == [{"exchange": "tasks", "queue": "small", "key": "small"}]
        assert task["queues"] == [
            {"name": "small", "type": "quorum", "priority": honoured, "limit": 5, "consumers": 0}
        ]
        assert (task["routable"], task["delay"], task["priority"]) == (True, True, honoured)
        assert task["announced"] is False

        both = await ask(exchange="events", routing_key="a.b")
        assert [one["key"] for one in both["bindings"]] == ["a.#", "*.b"]
        assert [one["name"] for one in both["queues"]] == ["small", "ranked"]
        assert both["priority"] is True

        by_alternate = await ask(exchange="events", routing_key="x.y")
        assert by_alternate["through"] == ["events", "rest"]
        assert [one["name"] for one in by_alternate["queues"]] == ["ranked"]
        assert (by_alternate["delay"], by_alternate["priority"]) == (False, True)

        by_headers = await ask(exchange="marked", headers={"colour": "red"})
        assert [one["name"] for one in by_headers["queues"]] == ["ranked"]
        assert by_headers["bindings"][0]["arguments"] == {"colour": "red"}

        nowhere = await ask(exchange="tasks", routing_key="nobody")
        assert (nowhere["routable"], nowhere["queues"], nowhere["bindings"]) == (False, [], [])

        by_name = await ask(exchange="", routing_key="small")
        assert [one["name"] for one in by_name["queues"]] == ["small"]


@pytest.mark.parametrize(
    ("question", "status", "code"),
    [
        ({}, 400, "invalid-request"),
        ({"task": "demo.add", "exchange": "tasks"}, 400, "invalid-request"),
        ({"task": "demo.add", "routing_key": "x"}, 400, "invalid-request"),
        ({"tasks": "demo.add"}, 400, "invalid-request"),
        ({"exchange": 5}, 400, "invalid-request"),
        ([], 400, "invalid-request"),
        ({"task": "no.such"}, 404, "unknown-task"),
        ({"exchange": "nowhere", "routing_key": "x"}, 404, "unknown-exchange"),
    ],
)
async def test_a_bad_question_about_a_route_is_refused(config, question, status, code):
    async with running_gateway(config, ready=False) as client:
        assert (await post(client, "/v1/topology/route", question, status))["code"] == code


async def test_queue_figures_come_from_the_management_api(config, rabbit):
    async with running_gateway(config, management_url=rabbit.management_url) as client:
        for number in range(3):
            await post(client, "/v1/tasks", {"task": "demo.add", "args": [1, number]}, 202)

        async def told() -> Any:
            rows = (await get(client, "/v1/queues"))["queues"]
            row = next(row for row in rows if row["name"] == "default")
            return row if row.get("ready") == 3 else None

        row = await eventually(told, timeout_s=15)

    assert (row["unacknowledged"], row["consumers"], row["dead_letters"]) == (0, 0, 0)
    assert row["rates"].keys() == {"publish", "deliver", "ack"}
    assert (row["type"], row["limit"], row["full"]) == ("quorum", 500_000, False)


async def test_without_a_management_api_the_figures_are_absent(config):
    async with running_gateway(config, ready=False) as client:
        rows = (await get(client, "/v1/queues"))["queues"]

    assert [row["name"] for row in rows] == list(layout.load().queues)
    assert not {"ready", "unacknowledged", "consumers", "rates"} & set().union(*rows)


async def test_a_management_api_that_fails_is_told_as_such(config, rabbit):
    async with TcpProxy(rabbit.management_port) as proxy:
        url = rabbit.management_url.replace(str(rabbit.management_port), str(proxy.port))
        async with running_gateway(config, ready=False, management_url=url) as client:
            await get(client, "/v1/queues")
            proxy.cut(refuse=True)
            problem = await get(client, "/v1/queues", 503)
            assert problem["code"] == "metrics-unavailable"
            assert rabbit.password not in json.dumps(problem)

            proxy.resume()
            await get(client, "/v1/queues")
            proxy.stall()
            assert (await get(client, "/v1/queues", 503))["code"] == "metrics-unavailable"
            proxy.resume()

        wrong = rabbit.management_url.replace(rabbit.password, "wrong")
        async with running_gateway(config, ready=False, management_url=wrong) as client:
            problem = await get(client, "/v1/queues", 503)
            assert (problem["code"], "401" in problem["detail"]) == ("metrics-unavailable", True)


@pytest.mark.bare_vhost
async def test_a_queue_at_its_limit_refuses_until_it_is_emptied(small, amqp_url):
    body = {"task": "demo.add", "args": [1, 2]}
    async with running_gateway(**small) as client:
        for _ in range(5):
            await post(client, "/v1/tasks", body, 202)
        await eventually(lambda: client.app[parts.BROKER].depths.full("small"))

        async with client.post("/v1/tasks", json=body) as answer:
            problem = await answer.json()
        assert (answer.status, problem["code"], problem["queued"]) == (429, "queue-full", "no")
        assert int(answer.headers["Retry-After"]) >= 1
        other = {**body, "options": {"queue": "ranked"}}
        await post(client, "/v1/tasks", other, 202)

        connection = await aio_pika.connect(amqp_url)
        async with connection:
            channel = await connection.channel()
            await (await channel.get_queue("small", ensure=False)).purge()
        await eventually(lambda: not client.app[parts.BROKER].depths.full("small"))
        await post(client, "/v1/tasks", body, 202)


@pytest.mark.bare_vhost
async def test_the_sampler_survives_a_lost_connection_and_forgets_old_figures(
    small, amqp_url, rabbit
):
    async with TcpProxy(rabbit.port) as proxy:
        config = small.pop("config")
        async with running_gateway(config, amqp_url=proxy.url_through(amqp_url), **small) as client:
            depths = client.app[parts.BROKER].depths
            for _ in range(5):
                await post(client, "/v1/tasks", {"task": "demo.add", "args": [1, 2]}, 202)
            await eventually(lambda: depths.full("small"))

            proxy.cut(refuse=True)
            await eventually(lambda: not depths.depths)
            assert not depths.full("small")

            proxy.resume()
            await eventually(lambda: depths.full("small"), timeout_s=10)


async def test_a_route_to_the_broadcast_exchange_tells_the_queues_of_workers(
    config, amqp_url, rabbit
):
    async with (
        running_gateway(config, management_url=rabbit.management_url) as client,
        await aio_pika.connect(amqp_url) as connection,
    ):
        channel = await connection.channel()
        own = await channel.declare_queue("broadcast.celery@w1", durable=True)
        await own.bind("broadcast")

        async def told() -> Any:
            found = await post(client, "/v1/topology/route", {"exchange": "broadcast"})
            return found if found["queues"] else None

        found = await eventually(told, timeout_s=15)

    assert found["routable"] is True
    assert found["queues"] == [
        {"name": "broadcast.celery@w1", "type": "classic", "priority": False, "consumers": 0}
    ]
    assert found["bindings"] == [
        {"exchange": "broadcast", "queue": "broadcast.celery@w1", "key": ""}
    ]


async def test_a_broadcast_reaches_every_worker_queue_and_needs_one(config, amqp_url):
    body = {"task": "demo.add", "args": [1, 2], "options": {"headers": {"a": "b"}}}
    async with running_gateway(config) as client:
        problem = await post(client, "/v1/broadcast", body, 422)
        assert (problem["code"], problem["queued"]) == ("unroutable", "no")

        connection = await aio_pika.connect(amqp_url)
        async with connection:
            channel = await connection.channel()
            workers = [
                await channel.declare_queue(f"broadcast.celery@{name}", durable=True)
                for name in ("w1", "w2")
            ]
            for worker in workers:
                await worker.bind("broadcast")

            told = await post(client, "/v1/broadcast", body, 202)
            assert (told["tracked"], told["exchange"]) == (False, "broadcast")
            for worker in workers:
                message = await worker.get(timeout=5, no_ack=True)
                assert message.headers["id"] == told["id"]
                assert (message.headers["a"], message.headers["ignore_result"]) == ("b", True)
                assert json.loads(message.body)[0] == [1, 2]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"task": "no.such"}, 404, "unknown-task"),
        ({"task": "demo.add", "options": {"queue": "default"}}, 400, "invalid-request"),
        ({"task": "demo.add", "options": {"exchange": "tasks"}}, 400, "invalid-request"),
        ({"args": []}, 400, "invalid-request"),
    ],
)
async def test_a_bad_broadcast_is_refused(config, body, status, code):
    async with running_gateway(config, ready=False) as client:
        problem = await post(client, "/v1/broadcast", body, status)

    assert (problem["code"], problem["queued"]) == (code, "no")


@pytest.mark.bare_vhost
async def test_a_headers_exchange_is_published_to_by_headers_and_cannot_delay(small):
    async with running_gateway(**small) as client:

        async def submit(task: str, **options: Any) -> tuple[int, Any]:
            body = {"task": task, "options": {"exchange": "marked", **options}}
            async with client.post("/v1/tasks", json=body) as answer:
                told = await answer.json()
                return answer.status, told.get("queues") or told["code"]

        assert await submit("demo.add", headers={"colour": "red"}) == (202, ["ranked"])
        assert await submit("demo.add", headers={"colour": "blue"}) == (422, "unroutable")
        assert await submit("demo.add") == (422, "unroutable")
        assert await submit("demo.echo") == (202, ["ranked"])
        delayed = await submit("demo.add", headers={"colour": "red"}, countdown=5)
        assert delayed == (422, "delay-not-supported")


async def test_a_priority_that_no_queue_honours_is_refused_on_every_path(config):
    async def ask(client: Any, method: str, path: str, options: Any) -> tuple[int, Any]:
        task = {"task": "demo.echo", "args": [1], "options": options}
        body = {
            "/v1/canvas": {"chain": [{"task": "demo.echo", "args": [1]}, task]},
            "/v1/tasks/bulk": [task],
            "/v1/schedules/x": {**task, "every": 9999},
        }.get(path, task)
        async with client.request(method, path, json=body) as answer:
            found = await answer.json()
            return answer.status, found[0] if path == "/v1/tasks/bulk" else found

    async with running_gateway(config) as client:
        quorum = (client.app[parts.BROKER].publisher.rabbitmq_major or 0) >= 4
        for method, path, place in (
            ("POST", "/v1/tasks", "$"),
            ("POST", "/v1/tasks/bulk", "$"),
            ("POST", "/v1/canvas", "$.chain[1]"),
            ("PUT", "/v1/schedules/x", "$"),
            ("POST", "/v1/broadcast", "$"),
        ):
            options = {"priority": 3}
            if path != "/v1/broadcast":
                status, told = await ask(client, method, path, {**options, "queue": "ranked"})
                assert told.get("status", status) in {200, 201, 202}, told
            if path == "/v1/broadcast" or not quorum:
                status, told = await ask(client, method, path, options)
                assert told.get("status", status) == 400, told
                assert told["errors"][0]["at"] == f"{place}.options.priority"
