"""A queue with shards on real servers: one name for everyone, order within a key, a live move."""

import asyncio
import contextlib
import json
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import aio_pika
import pytest
from amqp.exceptions import NotFound
from kombu.connection import Connection

from devstack.rabbit import Rabbit
from penstock.wire.announcements import WORKERS_KEY
from penstock.wire.flow import FLOW_KEY
from penstock.wire.names import shard_names
from tests.deployment.gateway import Gateway
from tests.deployment.workers import Deployment
from tests.support.waiting import eventually
from topology import kombu_queues
from topology.__main__ import main
from topology.declare import DeclarationError, declare
from topology.layout import load

LAYOUT = """extends = "default"
[queues.orders]
{fields}
bindings = [{{ exchange = "tasks", key = "orders" }}, {{ exchange = "events", key = "orders.#" }}]
[[routes]]
task = "demo.run"
exchange = "tasks"
routing_key = "orders"
"""
SHARDS = shard_names("orders", 4)


@pytest.fixture
def layout(tmp_path: Path) -> Callable[[str], Path]:
    """Write a layout whose queue `orders` has these fields."""

    def write(fields: str) -> Path:
        path = tmp_path / f"layout-{len(list(tmp_path.iterdir()))}.toml"
        path.write_text(LAYOUT.format(fields=fields), encoding="utf-8")
        return path

    return write


@pytest.fixture
def deployment(amqp_url, redis_url, tmp_path):
    return Deployment(amqp_url=amqp_url, redis_url=redis_url, folder=tmp_path)


@pytest.fixture
async def sharded(
    make_gateway: Any, layout: Any, deployment: Deployment, rabbit: Rabbit
) -> Callable[[str], Any]:
    """Make a gateway, and have workers read the same layout."""

    async def make(fields: str) -> Gateway:
        path = layout(fields)
        deployment.env["TOPOLOGY_FILE"] = str(path)
        gateway: Gateway = await make_gateway(
            topology_file=path, management_url=rabbit.management_url
        )
        return gateway

    return make


async def call(gateway: Any, method: str, path: str, body: Any = None) -> Any:
    async with gateway.request(method, path, json=body) as response:
        answer = await response.json()
        assert response.status < 300, answer
        return answer


async def submit(
    gateway: Any, marks: list[str], task: tuple[Any, ...] = ("demo.run",), **options: Any
) -> list[str]:
    """Submit a task for each mark, in order."""
    name, *more = task
    lines = [
        json.dumps({"task": name, "args": [mark, *more], "options": options}) for mark in marks
    ]
    headers = {"Content-Type": "application/x-ndjson"}
    path = "/v1/tasks/bulk?outcomes=all"
    async with gateway.post(path, data="\n".join(lines), headers=headers) as response:
        rows = [json.loads(line) for line in (await response.text()).splitlines()]
    ids = [row["id"] for row in rows if "id" in row]
    assert len(ids) == len(marks), rows[:3]
    return ids


def depths(deployment: Deployment) -> list[int]:
    return [deployment.depth(name) for name in SHARDS]


async def row(gateway: Any) -> Any:
    rows = (await call(gateway, "GET", "/v1/queues"))["queues"]
    return next(one for one in rows if one["name"] == "orders")


async def test_tasks_of_one_key_run_in_order_whatever_shard_has_them(sharded, deployment):
    gateway = await sharded("shards = 4")
    for number in range(10):
        for key in range(12):
            await submit(
                gateway, [f"{key} {number}"], exchange="events", routing_key=f"orders.{key}"
            )
    assert sum(depths(deployment)) == 120
    assert sum(1 for one in depths(deployment) if one) > 1
    async with deployment.worker("threads", "-Q", "orders", concurrency=1):
        await eventually(lambda: len(deployment.runs) == 120, timeout_s=30)
    ran: dict[str, list[int]] = defaultdict(list)
    for run in deployment.runs:
        key, number = run.split()
        ran[key].append(int(number))
    assert len(ran) == 12
    assert all(numbers == sorted(numbers) for numbers in ran.values()), ran


async def purged(gateway: Any) -> Any:
    """Purge the queue, and wait for the end of the operation."""
    begun = await call(gateway, "POST", "/v1/queues/orders/purge")

    async def done() -> Any:
        one = await call(gateway, "GET", f"/v1/operations/{begun['operation']}")
        return one if one["state"] == "done" else None

    return await eventually(done, 30, 0.2)


async def test_ids_spread_evenly_also_after_a_delay_and_the_name_counts_and_purges_all(
    sharded, deployment
):
    gateway = await sharded('shards = 4\nshard_by = "task_id"')
    ids = await submit(gateway, ["at once"] * 400, queue="orders")
    assert min(depths(deployment)) > 60, depths(deployment)
    later = await submit(gateway, ["later"] * 100, queue="orders", countdown=1)
    later += await submit(gateway, ["later"] * 100, countdown=1)
    await eventually(lambda: sum(depths(deployment)) == 600, timeout_s=15)
    assert min(depths(deployment)) > 100, depths(deployment)

    async def counted() -> bool:
        return (await row(gateway)).get("ready") == 600

    await eventually(counted, timeout_s=15)
    shown = await row(gateway)
    assert (shown["shards"], shown["limit"], shown["full"]) == (4, 500_000, False)
    found = await purged(gateway)
    assert (found["of"], found["done"], found["failed"]) == (600, 600, 0)
    await eventually(lambda: depths(deployment) == [0] * 4)
    states = (await call(gateway, "POST", "/v1/tasks/status", {"ids": [*ids[:50], *later[:50]]}))[
        "tasks"
    ]
    assert {one["state"] for one in states} == {"REVOKED"}


def done(deployment: Deployment) -> list[str]:
    """What was run to its end."""
    ends = [run for run in deployment.runs if not run.endswith(" begins")]
    return sorted(run.removesuffix(" ends") for run in ends)


def consumers(deployment: Deployment) -> list[int]:
    with Connection(deployment.amqp_url) as connection:
        channel = connection.default_channel
        return [channel.queue_declare(name, passive=True).consumer_count for name in SHARDS]


@pytest.mark.parametrize("pool", ["asyncio", "prefork"])
async def test_pauses_commands_flow_and_dead_letters_are_of_the_one_name(sharded, deployment, pool):
    gateway = await sharded("shards = 4")
    keys = [f"orders.{number}" for number in range(20)]
    quick: tuple[Any, ...] = ("demo.doze", 0) if pool == "asyncio" else ("demo.run",)
    async with deployment.worker(pool, "-Q", "orders"):
        await eventually(lambda: min(consumers(deployment)) == 1, timeout_s=10)

        async def of_orders() -> Any:
            [told] = (await call(gateway, "GET", "/v1/workers"))["workers"]
            return told if told.get("queues") == ["orders"] else None

        worker = await eventually(of_orders, timeout_s=10)

        await call(gateway, "POST", "/v1/queues/orders/pause")
        await eventually(lambda: max(consumers(deployment)) == 0, timeout_s=10)
        for key in keys:
            await submit(gateway, [key], quick, exchange="events", routing_key=key)
        await call(gateway, "POST", "/v1/queues/orders/resume")
        await eventually(lambda: done(deployment) == sorted(keys), timeout_s=15)

        path = f"/v1/workers/{worker['name']}"
        for command, wanted in (("cancel", 0), ("consume", 1)):
            await call(gateway, "POST", f"{path}/{command}", {"queue": "orders"})
            await eventually(
                partial(lambda n: consumers(deployment) == [n] * 4, wanted), timeout_s=10
            )

        await eventually(
            lambda: deployment.redis.hget(FLOW_KEY, "started:orders") == "20", timeout_s=5
        )
        assert {name.partition(":")[2] for name in deployment.redis.hkeys(FLOW_KEY)} == {"orders"}

        for key in keys:  # no JSON: rejected
            deployment.publish("demo.run", raw=b"{", exchange="events", routing_key=key)
        await eventually(lambda: deployment.depth("orders.dead") == 20, timeout_s=15)

        async def worked_off() -> bool:
            return (await call(gateway, "GET", "/v1/scaling/orders"))["backlog"] == 0

        await eventually(worked_off, timeout_s=10)
        problems = (await call(gateway, "GET", "/v1/problems"))["problems"]
        assert not {one["code"] for one in problems} & {"queue-without-worker", "queue-stalled"}
    listed = await call(gateway, "GET", "/v1/dead-letters/orders")
    letters = {one["routing_key"]: one for one in listed["letters"]}
    assert sorted(letters) == sorted(keys)
    assert {one["queue"] for one in letters.values()} == {"orders"}
    assert {one["reason"] for one in letters.values()} == {"rejected"}
    replayed = await call(gateway, "POST", "/v1/dead-letters/orders/replay", {"all": True})
    assert replayed["replayed"] == 20
    assert (sum(depths(deployment)), deployment.depth("orders.dead")) == (20, 0)
    assert sum(1 for one in depths(deployment) if one) > 1


async def test_a_live_queue_moves_to_shards_and_each_task_runs_once(
    make_gateway, layout, deployment, rabbit, capsys
):
    plain, sharded = layout(""), layout("shards = 4")
    ids: list[str] = []
    going = await make_gateway(topology_file=plain)

    async def load(gateway: Any, first: int, last: int) -> None:
        for start in range(first, last, 50):
            marks = [str(number) for number in range(start, start + 50)]
            ways: list[dict[str, Any]] = [
                {}, {"queue": "orders"}, {"exchange": "events"}, {"countdown": 1}
            ]  # fmt: skip
            options = ways[start // 50 % 4]
            if "exchange" in options:
                options["routing_key"] = f"orders.{start}"
            ids.extend(await submit(gateway, marks, **options))

    deployment.env["TOPOLOGY_FILE"] = str(plain)
    async with deployment.worker("threads", "-Q", "orders", name="old"):
        before = asyncio.create_task(load(going, 0, 2000))
        await eventually(lambda: len(ids) >= 500, timeout_s=30)
        deployment.env["TOPOLOGY_FILE"] = str(sharded)
        async with deployment.worker("threads", "-Q", "orders", name="new"):
            coming = await make_gateway(topology_file=sharded)
            await before
            await load(coming, 2000, 3000)
            await eventually(lambda: len(deployment.runs) >= 3000, timeout_s=90)
    assert sorted(map(int, deployment.runs)) == list(range(3000))
    assert {deployment.record(one)["status"] for one in ids} == {"SUCCESS"}
    await eventually(lambda: depths(deployment) == [0] * 4)
    variables = {
        "AMQP_URL": deployment.amqp_url,
        "RABBITMQ_MANAGEMENT_URL": rabbit.management_url,
        "TOPOLOGY_FILE": str(sharded),
    }
    code = await asyncio.to_thread(main, ["check"], variables)
    assert code == 0, capsys.readouterr().out


async def test_a_broker_without_the_plugin_is_named_with_the_remedy(tmp_path, layout):
    topology = load(layout("shards = 2"))
    rabbit = Rabbit(tmp_path / "rabbitmq", plugins=("rabbitmq_management",))

    def by_kombu() -> None:
        with Connection(rabbit.url) as connection:
            kombu_queues.declare(connection, topology)

    try:
        await rabbit.start()
        async with await aio_pika.connect(rabbit.url) as connection:
            with pytest.raises(DeclarationError, match="rabbitmq-plugins enable"):
                await declare(connection, topology)
        with pytest.raises(DeclarationError, match="rabbitmq-plugins enable"):
            await asyncio.to_thread(by_kombu)
    finally:
        await rabbit.stop()


APP = """
import os
from penstock import Penstock

app = Penstock("proj", broker=os.environ["AMQP_URL"], backend=os.environ["REDIS_URL"])


@app.task(name="demo.run", bind=True)
def run(self, mark: str) -> None:
    if not self.request.retries:
        raise self.retry(countdown=1)
    with open(os.environ["RUNS_FILE"], "a") as runs:
        runs.write(mark + "\\n")
"""


async def test_an_application_without_a_layout_finds_the_shards_and_retries_reach_them(
    sharded, deployment
):
    gateway = await sharded("shards = 4")
    (deployment.folder / "proj.py").write_text(APP)
    deployment.env["PYTHONPATH"] = str(deployment.folder)
    marks = [str(number) for number in range(30)]
    async with deployment.worker("prefork", "-Q", "default", app="proj"):
        await eventually(lambda: deployment.redis.hlen(WORKERS_KEY) == 1, timeout_s=10)
        [worker] = (await call(gateway, "GET", "/v1/workers"))["workers"]
        path = f"/v1/workers/{worker['name']}/consume"
        await call(gateway, "POST", path, {"queue": "orders"})
        await eventually(lambda: consumers(deployment) == [1] * 4, timeout_s=10)
        for mark in marks:
            await submit(gateway, [mark], exchange="events", routing_key=f"orders.{mark}")
        await eventually(lambda: sorted(deployment.runs) == sorted(marks), timeout_s=30)
        [worker] = (await call(gateway, "GET", "/v1/workers"))["workers"]
        assert sorted(worker["queues"]) == ["default", "orders"]
    async with deployment.worker("threads", "-Q", "orders", app="proj", name="other"):
        assert consumers(deployment) == [1] * 4


async def test_a_shard_that_is_away_stops_no_other_and_is_consumed_again(sharded, deployment):
    gateway = await sharded("shards = 4")
    keys = [f"orders.{number}" for number in range(20)]
    async with deployment.worker("asyncio", "-Q", "orders"):
        await eventually(lambda: consumers(deployment) == [1] * 4, timeout_s=10)
        with Connection(deployment.amqp_url) as connection:
            connection.default_channel.queue_delete(SHARDS[2])
        for key in keys:
            await submit(gateway, [key], exchange="events", routing_key=key)
        await eventually(lambda: done(deployment) == sorted(keys), timeout_s=15)
        await eventually(lambda: deployment_shards(deployment) == set(SHARDS), timeout_s=15)
        await eventually(lambda: consumers(deployment) == [1] * 4, timeout_s=15)
        for key in keys:
            await submit(gateway, [key], exchange="events", routing_key=key)
        await eventually(lambda: done(deployment) == sorted(keys * 2), timeout_s=15)


def deployment_shards(deployment: Deployment) -> set[str]:
    """Return which shards there are."""
    found = set()
    with Connection(deployment.amqp_url) as connection:
        for name in SHARDS:
            with contextlib.suppress(NotFound), connection.channel() as channel:
                channel.queue_declare(name, passive=True)
                found.add(name)
    return found


async def test_a_chord_whose_header_and_body_are_in_shards_ends(sharded, deployment):
    gateway = await sharded('shards = 4\nshard_by = "task_id"')
    there, marks = {"queue": "orders"}, [str(number) for number in range(60)]
    header = [{"task": "demo.run", "args": [mark], "options": there} for mark in marks]
    body = {"task": "demo.echo", "options": there}
    chord = {"chord": {"header": header, "body": body}}
    receipt = await call(gateway, "POST", "/v1/canvas", {"chain": [chord, body]})
    assert sum(depths(deployment)) == 60
    assert all(depths(deployment)), depths(deployment)
    async with deployment.worker("threads", "-Q", "orders", concurrency=4):
        state = await call(gateway, "GET", f"/v1/tasks/{receipt['id']}?wait=30")
        assert (state["state"], state["result"]) == ("SUCCESS", marks), state
    assert sorted(deployment.runs) == sorted(marks)


async def test_a_full_shard_refuses_and_what_was_accepted_runs_once(sharded, deployment):
    gateway = await sharded('shards = 4\nshard_by = "task_id"\nlimit = 3')  # 30 in a shard
    headers = {"Content-Type": "application/x-ndjson"}
    path = "/v1/tasks/bulk?outcomes=all"
    accepted: list[str] = []
    refused: list[Any] = []
    for start in range(0, 10_000, 200):  # RabbitMQ takes some more than the limit
        if refused:
            break
        marks = [str(number) for number in range(start, start + 200)]
        lines = [json.dumps({"task": "demo.run", "args": [mark]}) for mark in marks]
        async with gateway.post(path, data="\n".join(lines), headers=headers) as response:
            rows = [json.loads(line) for line in (await response.text()).splitlines()][:-1]
        accepted += [mark for mark, one in zip(marks, rows, strict=True) if one["status"] == 202]
        refused += [one for one in rows if one["status"] != 202]

    assert refused
    assert {(one["code"], one["queued"]) for one in refused} == {("queue-full", "no")}
    assert sum(depths(deployment)) == len(accepted)
    async with gateway.post("/v1/tasks", json={"task": "demo.run", "args": ["more"]}) as answer:
        assert (answer.status, (await answer.json())["code"]) == (429, "queue-full")
    async with deployment.worker("threads", "-Q", "orders"):
        await eventually(lambda: done(deployment) == sorted(accepted), timeout_s=30)

        async def taken() -> bool:
            body = {"task": "demo.run", "args": ["after"]}
            async with gateway.post("/v1/tasks", json=body) as answer:
                return answer.status == 202

        await eventually(taken, timeout_s=15)
        await eventually(lambda: "after" in done(deployment), timeout_s=15)
