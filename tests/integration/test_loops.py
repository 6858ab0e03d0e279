"""Every background loop of a gateway survives what its servers and others do, says so, recovers."""

import asyncio
import json
import os
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aio_pika
import aiohttp
import pytest
import pytest_asyncio
from redis.asyncio import from_url

from devstack.proxy import TcpProxy
from devstack.rabbit import Rabbit
from devstack.rabbit_container import rabbit_for
from gateway.api import parts
from gateway.config import GatewayConfig
from gateway.rabbitmq.consumer import PREFETCH
from penstock.wire.keys import TaskKeys
from tests.deployment.gateway import running_gateway
from tests.deployment.vhosts import VirtualHosts
from tests.support.stream_client import Stream
from tests.support.waiting import eventually

RECOVERS_S = 5.0
KEYS = (
    f'[[key]]\nname = "k"\nsha256 = "{sha256(b"k").hexdigest()}"\n'
    'scopes = ["admin", "read", "submit"]\n'
)


class Surroundings:
    """What a gateway depends on, each part of which can be broken and mended."""

    def __init__(self, rabbit: TcpProxy, redis: TcpProxy, folder: Path) -> None:
        self.rabbit = rabbit
        self.redis = redis
        self.keys = folder / "keys.toml"
        self.board = folder / "board"
        self.keys.write_text(KEYS)
        self.board.mkdir()

    def lose_rabbit(self) -> None:
        self.rabbit.cut(refuse=True)

    def stall_rabbit(self) -> None:
        self.rabbit.stall()
        self.rabbit.cut()

    def mend_rabbit(self) -> None:
        self.rabbit.resume()

    def lose_redis(self) -> None:
        self.redis.cut(refuse=True)

    def lose_redis_as_keys_change(self) -> None:
        """Schedules are looked at when the keys are others."""
        self.lose_redis()
        self.keys.write_text(KEYS.replace('"k"', '"l"'))

    def mend_redis(self) -> None:
        self.redis.resume()

    def spoil_keys(self) -> None:
        self.keys.unlink()
        self.keys.mkdir()

    def mend_keys(self) -> None:
        self.keys.rmdir()
        self.keys.write_text(KEYS)

    def lose_board(self) -> None:
        for file in self.board.iterdir():
            file.unlink()
        self.board.rmdir()

    def mend_board(self) -> None:
        self.board.mkdir()


FAULTS: dict[str, tuple[Callable[[Surroundings], None], Callable[[Surroundings], None]]] = {
    "publisher": (Surroundings.lose_rabbit, Surroundings.mend_rabbit),
    "publishing": (Surroundings.lose_rabbit, Surroundings.mend_rabbit),
    "consuming": (Surroundings.lose_rabbit, Surroundings.mend_rabbit),
    "outcomes": (Surroundings.lose_rabbit, Surroundings.mend_rabbit),
    "callbacks": (Surroundings.lose_rabbit, Surroundings.mend_rabbit),
    "queue-depths": (Surroundings.lose_rabbit, Surroundings.mend_rabbit),
    "heartbeats": (Surroundings.lose_rabbit, Surroundings.mend_rabbit),
    "notices": (Surroundings.lose_redis, Surroundings.mend_redis),
    "task-counts": (Surroundings.lose_redis, Surroundings.mend_redis),
    "queue-flows": (Surroundings.lose_redis, Surroundings.mend_redis),
    "operations": (Surroundings.lose_redis, Surroundings.mend_redis),
    "problems": (Surroundings.lose_redis, Surroundings.mend_redis),
    "catalog": (Surroundings.lose_redis, Surroundings.mend_redis),
    "kept-results": (Surroundings.lose_redis, Surroundings.mend_redis),
    "schedule-guard": (Surroundings.lose_redis_as_keys_change, Surroundings.mend_redis),
    "keyring": (Surroundings.spoil_keys, Surroundings.mend_keys),
    "metrics-board": (Surroundings.lose_board, Surroundings.mend_board),
}
"""Loop → what breaks it, and what mends that."""
INWARD = {"confirm-sweep", "streams", "listener", "stock-workers", "queue-look"}
"""Loops that look at this process alone, or at workers of others or the management API where there
are any: nothing breaks them here."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def rabbit(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rabbit]:
    """A node of its own, because a message of `HEADERS` ends its dead-lettering.

    RabbitMQ 3.10 cannot dead-letter at-least-once what bears an `x-death` of another form than its
    own (`rabbit_dead_letter:update_x_death_header`): the queue's dead-letter worker fails, is
    started again, fails on the same message, and takes the supervisor of all of them along. From
    then on the node answers 541 to each declaration of such a queue. The gateway refuses that
    header, so only a publisher that goes past it can send one.
    """
    server = rabbit_for(os.environ.get("RABBITMQ_IMAGE"), tmp_path_factory.mktemp("rabbit-loops"))
    await server.start()
    yield server
    await server.kill()
    await server.stop()


@pytest.fixture(scope="module")
def vhosts(rabbit: Rabbit) -> VirtualHosts:
    """The virtual hosts of that node."""
    return VirtualHosts(rabbit)


@pytest.fixture
async def broken(
    amqp_url: str, redis_url: str, rabbit: Rabbit, redis_server: Any, tmp_path: Path
) -> AsyncIterator[tuple[Any, Surroundings]]:
    """A gateway with every loop that there is, and its surroundings."""
    async with TcpProxy(rabbit.port) as to_rabbit, TcpProxy(redis_server.port) as to_redis:
        around = Surroundings(to_rabbit, to_redis, tmp_path)
        config = GatewayConfig(
            amqp_url=to_rabbit.url_through(amqp_url),
            redis_url=to_redis.url_through(redis_server.url),
            keys_file=around.keys,
            metrics_folder=around.board,
            callback_hosts=("*",),
            callback_secret=b"s",
        )
        async with running_gateway(config) as client:
            yield client, around


async def readyz(client: Any) -> tuple[int, dict[str, Any]]:
    async with client.get("/readyz") as answer:
        return answer.status, await answer.json()


async def failing(client: Any) -> dict[str, dict[str, Any]]:
    _, body = await readyz(client)
    return {one["loop"]: one for one in body["checks"]["loops"]["failing"]}


async def well(client: Any) -> bool:
    status, body = await readyz(client)
    return (status, body["status"]) == (200, "ok")


async def test_every_loop_survives_its_servers_says_so_and_recovers(broken):
    client, around = broken
    names = set(client.app[parts.LOOPS].names)
    assert names | {"listener"} == FAULTS.keys() | INWARD  # a new loop needs a fault here
    await eventually(lambda: well(client), timeout_s=RECOVERS_S)
    assert around.rabbit.connections == 2  # one publishes, the other does all the rest
    running = {task.get_name(): task for task in asyncio.all_tasks() if task.get_name() in names}
    assert running.keys() == names
    pairs = dict.fromkeys(FAULTS.values())
    for pair in pairs:
        spoil, mend = pair
        wanted = {name for name, fault in FAULTS.items() if fault == pair}
        began = time.time()
        spoil(around)

        async def seen(wanted: set[str] = wanted) -> Any:
            found = await failing(client)
            return found if wanted <= found.keys() else None

        found = await eventually(seen, timeout_s=15)
        for name in wanted:
            assert found[name]["error"]
            assert found[name]["since"] >= time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(began))
        status, body = await readyz(client)
        word = ("unavailable", 503) if "publisher" in wanted else ("degraded", 200)
        assert (body["status"], status) == word
        mend(around)

        await eventually(lambda: well(client), timeout_s=RECOVERS_S)

    assert not [name for name, task in running.items() if task.done()]


@pytest.mark.bare_vhost
async def test_an_account_without_permission_is_seen_and_taken_when_it_is_granted(
    rabbit: Rabbit, amqp_url: str, redis_url: str
):
    vhost, user = urlsplit(amqp_url).path[1:], f"user-{secrets.token_hex(4)}"
    api = f"{rabbit.management_url}/api"
    async with aiohttp.ClientSession(raise_for_status=True) as session:

        async def allow(configure: str) -> None:
            rights = {"configure": configure, "write": ".*", "read": ".*"}
            await session.put(f"{api}/permissions/{vhost}/{user}", json=rights)

        await session.put(f"{api}/users/{user}", json={"password": "p", "tags": ""})
        await allow("^$")
        url = f"amqp://{user}:p@127.0.0.1:{rabbit.port}/{vhost}"
        config = GatewayConfig(amqp_url=url, redis_url=redis_url)
        async with running_gateway(config, ready=False) as client:

            async def refused() -> bool:
                status, body = await readyz(client)
                checks = body["checks"]
                return status == 503 and "may not make" in checks["topology"]["detail"]

            await eventually(refused, timeout_s=10)

            await allow(".*")

            await eventually(lambda: well(client), timeout_s=15)  # it asks every 5 s
            async with client.post(
                "/v1/tasks", json={"task": "demo.add", "args": [1, 2]}
            ) as answer:
                assert answer.status == 202
        await session.delete(f"{api}/users/{user}")


async def test_a_catalog_of_another_type_is_degraded_until_it_is_gone(amqp_url, redis_url):
    redis = from_url(redis_url)
    await redis.set("penstock:catalog", "text")
    async with running_gateway(GatewayConfig(amqp_url=amqp_url, redis_url=redis_url)) as client:

        async def degraded() -> bool:
            status, body = await readyz(client)
            found = {one["loop"]: one["error"] for one in body["checks"]["loops"]["failing"]}
            return (status, body["status"]) == (200, "degraded") and "WRONGTYPE" in found["catalog"]

        await eventually(degraded)
        await redis.delete("penstock:catalog")
        await eventually(lambda: well(client), timeout_s=RECOVERS_S)
    await redis.aclose()


async def test_a_gateway_is_not_ready_before_it_has_read_the_catalog(amqp_url, redis_server):
    redis = from_url(redis_server.url)
    await redis.flushall()
    announced = {"task": "demo.add", "seen": time.time() + 60, "params": []}
    await redis.hset("penstock:catalog", "demo.add\nabc", json.dumps(announced))
    async with TcpProxy(redis_server.port) as proxy:
        proxy.stall()
        config = GatewayConfig(amqp_url=amqp_url, redis_url=proxy.url_through(redis_server.url))
        async with running_gateway(config) as client:
            await eventually(lambda: client.app[parts.SUBMITTING].catalog.looked, timeout_s=10)
            status, body = await readyz(client)
            assert (status, body["status"]) == (200, "degraded")
            proxy.resume()

            async def ready() -> bool:
                status, body = await readyz(client)
                return status == 200 and body["checks"]["redis"]["ok"]

            await eventually(ready, timeout_s=RECOVERS_S)
            body = {"task": "demo.add", "args": [1, 2]}
            async with client.post("/v1/tasks", json=body) as answer:
                assert answer.status == 422
    await redis.aclose()


BODIES = [b"", b"5", b"null", b"{", b"\xff\xfe", b"[" * 200_000, b'{"event": 1}', b"[[],{},{}]"]
HEADERS: list[dict[str, Any]] = [
    {},
    {"id": 5},
    {"id": "x", "x-death": "text"},
    {"id": "x", "x-death": [5]},
    {"id": "x" * 255, "retries": "many", "task": ["list"], "x-penstock-copy": {"a": 1}},
    {"id": "x", "x-penstock-callback": "https://there.example/", "x-penstock-replay": "text"},
    {"id": "x", "x-penstock-callback": "https://there.example/", "x-penstock-replay": -5},
]


async def test_messages_of_any_form_take_no_slot_of_the_consumers(broken, amqp_url, redis_url):
    client, _ = broken
    redis = from_url(redis_url)
    ids = client.app[parts.ACCESS].task_ids
    event = {"event": "e" * 300, "id": "x", "url": "https://x.example/", "state": "SUCCESS"}
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        for body in [*BODIES, str(event).replace("'", '"').encode()]:
            for headers in HEADERS:
                message = aio_pika.Message(body, headers=headers)
                for queue in ("dead.outcomes", "callbacks"):
                    await channel.default_exchange.publish(message, queue)
        for _ in range(2 * PREFETCH):  # a record that is none, for each slot
            task_id = ids.issue("k")
            await redis.rpush(f"celery-task-meta-{task_id}", "x")
            message = aio_pika.Message(b"[[],{},{}]", headers={"id": task_id, "task": "demo.add"})
            await channel.default_exchange.publish(message, "dead.outcomes")
        good = ids.issue("k")
        message = aio_pika.Message(b"[[],{},{}]", headers={"id": good, "task": "demo.add"})
        await channel.default_exchange.publish(message, "dead.outcomes")

        async def ended() -> bool:
            headers = {"Authorization": "Bearer k"}
            async with client.get(f"/v1/tasks/{good}", headers=headers) as answer:
                return bool((await answer.json())["state"] == "FAILURE")

        await eventually(ended, timeout_s=30)

        async def empty() -> bool:
            counts = [
                (await channel.declare_queue(name, passive=True)).declaration_result.message_count
                for name in ("dead.outcomes", "callbacks")
            ]
            return counts == [0, 0]

        await eventually(empty, timeout_s=30)
        await eventually(lambda: well(client), timeout_s=RECOVERS_S)
    await redis.aclose()


async def test_a_record_of_another_type_costs_no_other_stream(watching, issue, worker):
    ids = [issue() for _ in range(40)]
    strange, plain = ids[::4], [one for place, one in enumerate(ids) if place % 4]
    for place, task_id in enumerate(strange):
        keys = TaskKeys.of(task_id)
        key = (keys.record, keys.events)[place % 2]
        await worker.client.rpush(key, "x")
    for task_id in plain:
        await worker.succeed(task_id)
    async with watching.ws_connect("/v1/stream", protocols=["penstock.v1"]) as socket:
        stream = Stream(socket)
        wants: Awaitable[None] = stream.subscribe(tasks={**dict.fromkeys(ids), ids[0]: "1-1"})
        await wants
        told = {one["id"]: one for one in await stream.take(len(ids), timeout_s=10)}

    assert {told[one]["state"] for one in plain} == {"SUCCESS"}
    assert {told[one].get("code") for one in strange[::2]} == {"internal-error"}
    assert {told[one]["state"] for one in strange[1::2]} == {"PENDING"}
