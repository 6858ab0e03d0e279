"""What newcomers try first: each layout leads to the app's queue, however that was declared."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import aio_pika
import aiohttp
import pytest
from aio_pika.abc import AbstractChannel
from celery import Celery
from celery.exceptions import TaskRevokedError
from redis.asyncio import Redis

from devstack.rabbit import Rabbit
from tests.deployment.gateway import running_gateway
from tests.support.waiting import eventually
from topology.__main__ import SAME, main
from topology.declare import declare
from topology.layout import load


class Attempt(NamedTuple):
    """A queue as an app declares it, and a layout for it."""

    layout: str
    queue: str = "celery"
    arguments: Mapping[str, Any] = {}
    exchange: str = "celery"
    type: str = "direct"
    key: str = "celery"


ROUTE = '\n[[routes]]\ntask = "proj.*"\nexchange = "{}"\nrouting_key = "{}"\n'
QUEUE = '[queues.{}]\nowner = "app"\n'
ATTEMPTS = {
    "queue and exchange share a name": Attempt(
        '[exchanges.celery]\ntype = "direct"\nowner = "app"\n'
        + QUEUE.format("celery")
        + 'bindings = [{ exchange = "celery", key = "celery" }]\n'
        + ROUTE.format("celery", "celery")
    ),
    "the default exchange": Attempt(QUEUE.format("celery") + ROUTE.format("", "celery")),
    "a quorum queue": Attempt(
        QUEUE.format("celery") + ROUTE.format("", "celery"),
        arguments={"x-queue-type": "quorum"},
    ),
    "arguments of its own": Attempt(
        QUEUE.format("celery") + 'max_priority = 10\nlimit = 5\ntype = "classic"\n'
        + ROUTE.format("", "celery"),
        arguments={"x-max-priority": 10, "x-message-ttl": 60_000, "x-max-length": 100},
    ),
    "a topic exchange and a priority": Attempt(
        '[exchanges.feed]\ntype = "topic"\nowner = "app"\n'
        + QUEUE.format("myqueue")
        + 'bindings = [{ exchange = "feed", key = "feed.#" }]\n'
        + ROUTE.format("feed", "feed.a.b"),
        "myqueue", {"x-max-priority": 10}, "feed", "topic", "feed.#",
    ),
    "worker_direct": Attempt(
        '[exchanges."C.dq2"]\ntype = "direct"\nowner = "app"\n'
        + QUEUE.format('"w1@host.dq2"')
        + 'bindings = [{ exchange = "C.dq2", key = "w1@host.dq2" }]\n'
        + ROUTE.format("C.dq2", "w1@host.dq2"),
        "w1@host.dq2", {}, "C.dq2", "direct", "w1@host.dq2",
    ),
}  # fmt: skip


@contextlib.asynccontextmanager
async def as_its_app_declares(amqp_url: str, attempt: Attempt) -> AsyncIterator[AbstractChannel]:
    """Declare the queue, and take it away again."""
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        exchange = await channel.declare_exchange(attempt.exchange, attempt.type, durable=True)
        queue = await channel.declare_queue(
            attempt.queue, durable=True, arguments=dict(attempt.arguments)
        )
        await queue.bind(exchange, attempt.key)
        await queue.bind(exchange, "a binding of the app's own")
        try:
            yield channel
        finally:
            await queue.delete(if_unused=False, if_empty=False)
            await exchange.delete()


@pytest.mark.parametrize("name", ATTEMPTS)
async def test_an_attempt_succeeds(
    name: str, amqp_url: str, redis_url: str, rabbit: Rabbit, tmp_path: Path, capsys: Any
):
    attempt, layout = ATTEMPTS[name], tmp_path / "layout.toml"
    layout.write_text('extends = "default"\n' + attempt.layout)
    async with (
        as_its_app_declares(amqp_url, attempt) as channel,
        running_gateway(amqp_url=amqp_url, redis_url=redis_url, topology_file=layout) as gateway,
    ):
        async with gateway.get("/readyz") as answer:
            checks = (await answer.json())["checks"]
        assert checks["topology"] == {"ok": True, "detail": "declared"}
        for options in ({}, {"countdown": 1}):
            body = {"task": "proj.add", "args": [1, 2], "options": options}
            async with gateway.post("/v1/tasks", json=body) as answer:
                told = await answer.json()
                assert (answer.status, told.get("queues")) == (202, [attempt.queue]), told
            message = await taken(channel, attempt.queue)
            assert message.headers["id"] == told["id"]
            assert json.loads(message.body)[0] == [1, 2]

        environment = {
            "AMQP_URL": amqp_url,
            "RABBITMQ_MANAGEMENT_URL": rabbit.management_url,
            "TOPOLOGY_FILE": str(layout),
        }
        for command in (["check"], ["apply", "--prune"], ["check"]):
            assert await in_a_thread(command, environment) == SAME
        said = capsys.readouterr().out
        assert "surplus" not in said
        assert "removed" not in said


async def in_a_thread(command: list[str], environment: dict[str, str]) -> int:

    return await asyncio.to_thread(main, command, environment)


async def taken(channel: AbstractChannel, queue: str) -> Any:
    """Wait for a message and take it."""
    consumed = await channel.get_queue(queue, ensure=False)
    return await eventually(lambda: consumed.get(no_ack=True, fail=False), 20)


APP = QUEUE.format("celery") + ROUTE.format("", "celery")


async def test_an_account_that_may_not_configure_does_what_it_can(
    amqp_url: str, redis_url: str, rabbit: Rabbit, tmp_path: Path
):
    layout = tmp_path / "layout.toml"
    layout.write_text('extends = "default"\n' + APP)
    api, vhost = f"{rabbit.management_url}/api", urlsplit(amqp_url).path[1:]
    async with aiohttp.ClientSession(raise_for_status=True) as session:
        await session.put(f"{api}/users/narrow", json={"password": "p", "tags": ""})
        rights = {"configure": "^$", "write": ".*", "read": ".*"}
        await session.put(f"{api}/permissions/{vhost}/narrow", json=rights)
        url = f"amqp://narrow:p@127.0.0.1:{rabbit.port}/{vhost}"
        try:
            await narrow(url, amqp_url, redis_url, layout)
        finally:
            await session.delete(f"{api}/users/narrow")


async def narrow(url: str, amqp_url: str, redis_url: str, layout: Path) -> None:
    async with (
        as_its_app_declares(amqp_url, Attempt(APP)) as channel,
        running_gateway(amqp_url=url, redis_url=redis_url, topology_file=layout) as gateway,
    ):

        async def submit(**options: Any) -> tuple[int, Any]:
            body = {"task": "proj.add", "options": options}
            async with gateway.post("/v1/tasks", json=body) as answer:
                return answer.status, await answer.json()

        async with gateway.get("/readyz") as answer:
            told = await answer.json()
        assert (answer.status, told["status"]) == (200, "degraded")
        for word in ("'penstock_gate'", "'penstock_gate.dead'", "python -m topology apply"):
            assert word in told["checks"]["topology"]["detail"]
        assert "'default'" not in told["checks"]["topology"]["detail"]  # it is there
        status, told = await submit()
        assert status == 202
        assert (await taken(channel, "celery")).headers["id"] == told["id"]
        status, told = await submit(countdown=1)
        assert (status, told["code"], told["queued"]) == (503, "topology-conflict", "no")
        assert "'penstock_gate'" in told["detail"]

        async with await aio_pika.connect(amqp_url) as connection:
            await declare(connection, load(layout))

        async def whole() -> bool:
            async with gateway.get("/readyz") as answer:
                return (await answer.json())["status"] == "ok"

        await eventually(whole, 20)
        status, told = await submit(countdown=1)
        assert status == 202
        assert (await taken(channel, "celery")).headers["id"] == told["id"]


async def test_an_exchange_that_no_app_has_declared_yet_costs_nothing_else(
    amqp_url: str, redis_url: str, tmp_path: Path
):
    attempt, layout = ATTEMPTS["queue and exchange share a name"], tmp_path / "layout.toml"
    layout.write_text('extends = "default"\n' + attempt.layout)
    async with running_gateway(
        amqp_url=amqp_url, redis_url=redis_url, topology_file=layout
    ) as gateway:

        async def submit(task: str) -> tuple[int, Any]:
            async with gateway.post("/v1/tasks", json={"task": task}) as answer:
                return answer.status, await answer.json()

        status, told = await submit("proj.add")
        assert (status, told["code"], told["queued"]) == (422, "unroutable", "no")
        assert "'celery' is not there" in told["detail"]
        assert (await submit("demo.add"))[0] == 202
        async with gateway.post("/v1/broadcast", json={"task": "demo.add"}) as answer:
            problem = await answer.json()
        assert (answer.status, problem["code"]) == (422, "unroutable")
        assert "kombu's Broadcast" in problem["detail"]
        async with gateway.get("/readyz") as answer:
            assert (await answer.json())["status"] == "ok"
        async with as_its_app_declares(amqp_url, attempt):

            async def taken_now() -> bool:
                return (await submit("proj.add"))[0] == 202

            await eventually(taken_now, 20)


@pytest.mark.parametrize("why", ["revoked", "expired"])
async def test_the_gate_ends_no_task_of_which_it_has_passed_on_a_copy(
    amqp_url: str, redis_url: str, tmp_path: Path, why: str
):
    layout = tmp_path / "layout.toml"
    layout.write_text('extends = "default"\n' + APP)
    async with (
        as_its_app_declares(amqp_url, Attempt(APP)) as channel,
        running_gateway(amqp_url=amqp_url, redis_url=redis_url, topology_file=layout) as gateway,
    ):
        options = {"countdown": 1} | ({"expires": 3} if why == "expired" else {})
        body = {"task": "proj.add", "args": [1], "options": options}
        async with gateway.post("/v1/tasks", json=body) as answer:
            task_id = (await answer.json())["id"]
        first = await taken(channel, "celery")  # by a worker
        if why == "revoked":
            async with gateway.delete(f"/v1/tasks/{task_id}") as answer:
                assert (await answer.json())["revoking"]
        else:
            expires = datetime.fromisoformat(first.headers["expires"]).timestamp()
            await eventually(lambda: time.time() > expires, 10)

        # As a gateway leaves it that dies before RabbitMQ has its acknowledgement.
        again = aio_pika.Message(
            first.body,
            headers={**first.headers, "x-penstock-gate": ["", "celery"]},
            content_type=first.content_type,
            content_encoding=first.content_encoding,
            message_id=first.message_id,
        )
        await channel.default_exchange.publish(again, "penstock_gate")
        assert (await taken(channel, "celery")).headers["id"] == task_id
        async with gateway.get(f"/v1/tasks/{task_id}") as answer:
            assert (await answer.json())["state"] == "PENDING"


async def test_a_worker_that_hears_of_a_revocation_later_does_not_undo_the_end(
    amqp_url: str, redis_url: str, tmp_path: Path
):
    layout = tmp_path / "layout.toml"
    layout.write_text('extends = "default"\n' + APP)
    async with (
        as_its_app_declares(amqp_url, Attempt(APP)),
        running_gateway(amqp_url=amqp_url, redis_url=redis_url, topology_file=layout) as gateway,
    ):
        body = {"task": "proj.add", "args": [1], "options": {"countdown": 1}}
        async with gateway.post("/v1/tasks", json=body) as answer:
            task_id = (await answer.json())["id"]
        async with gateway.delete(f"/v1/tasks/{task_id}") as answer:
            assert (await answer.json())["revoking"]
        async with gateway.get(f"/v1/tasks/{task_id}?wait=20") as answer:
            assert (await answer.json())["state"] == "REVOKED"

        # As `celery.worker.control._revoke` of Celery 5.6 and later: no request, so no children.
        with Celery(backend=redis_url) as app:
            error = app.backend.prepare_exception(TaskRevokedError("revoked"))
            heard = app.backend._get_result_meta(error, "REVOKED", None, None)
            assert heard["children"] is None
            record = app.backend.encode({**heard, "task_id": task_id})
        async with Redis.from_url(redis_url) as client:
            await client.set(f"celery-task-meta-{task_id}", record)
        async with gateway.get(f"/v1/tasks/{task_id}") as answer:
            assert (await answer.json())["state"] == "REVOKED"
        async with gateway.get(f"/v1/tasks/{task_id}/stream") as answer:
            assert b'"state":"REVOKED"' in await answer.content.readuntil(b"\n\n")


async def test_a_delayed_task_whose_queue_is_gone_is_a_dead_letter_of_the_gate(
    amqp_url: str, redis_url: str, tmp_path: Path
):
    layout = tmp_path / "layout.toml"
    layout.write_text('extends = "default"\n' + APP)
    async with running_gateway(
        amqp_url=amqp_url, redis_url=redis_url, topology_file=layout
    ) as gateway:
        body = {"task": "proj.add", "args": [1], "options": {"countdown": 1}}
        async with gateway.post("/v1/tasks", json=body) as answer:
            task_id = (await answer.json())["id"]
        async with gateway.get(f"/v1/tasks/{task_id}?wait=20") as answer:
            told = await answer.json()
        assert (told["state"], told["error"]["type"], told["error"]["message"]) == (
            "FAILURE", "DeadLettered", "unrouted",
        )  # fmt: skip
        async with gateway.get("/v1/dead-letters/penstock_gate") as answer:
            assert [letter["id"] for letter in (await answer.json())["letters"]] == [task_id]
        async with as_its_app_declares(amqp_url, Attempt(APP)) as channel:
            async with gateway.post(
                "/v1/dead-letters/penstock_gate/replay", json={"all": True}
            ) as answer:
                assert (await answer.json())["replayed"] == 1
            message = await taken(channel, "celery")
    assert message.headers["id"] == task_id
    assert "x-penstock-gate" not in message.headers
