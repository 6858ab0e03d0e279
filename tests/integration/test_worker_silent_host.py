"""A worker whose host of RabbitMQ falls silent goes on at another, and says no farewell to it."""

from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

from devstack.proxy import TcpProxy
from tests.deployment.workers import Deployment
from tests.waiting import eventually

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
