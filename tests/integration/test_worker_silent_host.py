"""A worker whose host of RabbitMQ, or the leader of one queue, falls silent goes on without it."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

import pytest
from kombu.connection import Connection

from devstack.proxy import TcpProxy
from devstack.rabbit import Rabbit
from penstock.worker.layout import undeclared
from penstock.worker.messages.amqp import Consumer
from penstock.worker.messages.connection import drop
from tests.deployment.workers import Deployment
from tests.support.waiting import eventually

_HEARTBEAT_S = 6
_GOES_ON_WITHIN_S = 25.0
"""Behind the loss. A farewell to the connection of events would take 30 s, a question to the
neighbours through the silent host would never end."""


@pytest.mark.parametrize("pool", ["asyncio", "prefork", "threads"])
async def test_a_silent_host_is_left_at_once(
    amqp_url: str, redis_url: str, tmp_path: Path, pool: str
):
    at = urlsplit(amqp_url)
    async with AsyncExitStack() as stack:
        hosts = [await stack.enter_async_context(TcpProxy(at.port or 0)) for _ in range(2)]
        names = ",".join(f"127.0.0.1:{host.port}" for host in hosts)
        both = at._replace(
            netloc=f"{at.netloc.rpartition('@')[0]}@{names}", query=f"heartbeat={_HEARTBEAT_S}"
        )
        deployment = Deployment(
            amqp_url=amqp_url, redis_url=redis_url, folder=tmp_path,
            env={"AMQP_URL": urlunsplit(both)},
        )  # fmt: skip
        async with deployment.worker(pool) as worker:
            first = deployment.publish("demo.add", [1, 2])
            assert (await deployment.ended(first))["result"] == 3

            max(hosts, key=lambda host: host.connections).stall()
            lost = b"Connection to broker lost"
            await eventually(lambda: lost in worker.child.logged(), timeout_s=60)
            assert b"RabbitMQ has said nothing for" in worker.child.logged()

            second = deployment.publish("demo.add", [3, 4])
            assert (await deployment.ended(second, _GOES_ON_WITHIN_S))["result"] == 7


async def to_leader(rabbit: Rabbit, vhost: str, queue: str, what: str) -> None:
    """Suspend or resume the process of RabbitMQ that leads a queue."""
    find = f'rabbit_amqqueue:lookup(rabbit_misc:r(<<"{vhost}">>, queue, <<"{queue}">>))'
    does = f"{{ok, Q}} = {find}, {{Leader, _}} = amqqueue:get_pid(Q), sys:{what}(Leader)."
    process = await asyncio.create_subprocess_exec(*rabbit.ctl("eval", does), env=rabbit.child.env)
    assert await process.wait() == 0


async def test_a_queue_that_falls_silent_holds_up_no_other(
    amqp_url: str, redis_url: str, tmp_path: Path, rabbit: Rabbit
):
    vhost = unquote(urlsplit(amqp_url).path[1:])
    deployment = Deployment(amqp_url=amqp_url, redis_url=redis_url, folder=tmp_path)
    await to_leader(rabbit, vhost, "coroutines", "suspend")
    try:
        async with deployment.worker("asyncio", "-Q", "default,coroutines") as worker:
            assert b"'coroutines' is away and tried again" in worker.child.logged()
            assert b"Connection to broker lost" not in worker.child.logged()
            sent = [deployment.publish("demo.run", [str(number)]) for number in range(4)]
            for one in sent:
                await deployment.ended(one)

            # It fell silent after it was asked.
            deployment.publish("demo.run", ["sent ahead"], routing_key="periodic")
            handled, refused = await asyncio.to_thread(consume, amqp_url, "periodic", "coroutines")
            assert (handled, refused) == ([], ["coroutines"])

            await to_leader(rabbit, vhost, "coroutines", "resume")
            back = deployment.publish("demo.run", ["back"], routing_key="coroutines")
            await deployment.ended(back, _GOES_ON_WITHIN_S)
            assert sorted(deployment.runs) == ["0", "1", "2", "3", "back"]
            await eventually(lambda: deployment.depth("periodic") == 1, timeout_s=10)
    finally:
        await to_leader(rabbit, vhost, "coroutines", "resume")


def consume(amqp_url: str, *queues: str) -> tuple[list[Any], list[str]]:
    """Consume queues of which one does not answer; return what was handled, and what refused."""
    handled: list[Any] = []
    refused: list[str] = []
    with Connection(amqp_url) as connection:
        consumer = Consumer(
            connection.default_channel,
            [undeclared(name) for name in queues],
            on_message=handled.append,
        )
        consumer.on_refused = lambda name, _error: refused.append(name)
        with pytest.raises(TimeoutError, match="no answer within"):
            consumer.consume()
        drop(connection)
    return handled, refused
