"""Gateways behind the balancers of `deploy/balancers`: what goes through, and rolling restarts."""

import asyncio
import contextlib
import re
import secrets
import signal
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
import pytest_asyncio

from devstack.balancers import Balancer
from devstack.ports import LOOPBACK, free_port
from devstack.process import Process
from devstack.product import Launcher
from devstack.proxy import TcpProxy
from tests.deployment.workers import Deployment
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(180)

NOTICE_S = 3
CLIENTS = 8


class Fleet:
    """Two gateways behind a balancer, and a worker's queue behind them."""

    def __init__(self, deployment: Deployment, program: str) -> None:
        self.program = program
        ids = f"1:{secrets.token_hex(32)}"
        more = {"TASK_ID_KEYS": ids, "DRAIN_NOTICE_S": str(NOTICE_S)}
        launcher = Launcher(env=deployment.environment | more, logs=deployment.folder)
        self.ports = ports = [free_port() for _ in range(2)]
        self.gateways = [launcher.gateway(LOOPBACK, port, f"gateway-{port}") for port in ports]
        self.urls = [f"http://{LOOPBACK}:{port}" for port in ports]
        self.balancer = Balancer(
            deployment.folder / program, ports, log=deployment.folder / f"{program}.log",
            program=program,
        )  # fmt: skip

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[aiohttp.ClientSession]:
        try:
            await asyncio.gather(*(gateway.start() for gateway in self.gateways))
            await self.balancer.start()
            async with aiohttp.ClientSession(self.balancer.url) as client:
                await eventually(lambda: is_ready(client), timeout_s=10)
                yield client
        finally:
            await self.balancer.stop()
            await asyncio.gather(*(gateway.stop() for gateway in self.gateways))

    async def restart(self, gateway: Process, *, taken_out: bool = False) -> None:
        """Stop one as an orchestrator does, and start it again."""
        if taken_out:
            self.balancer.take_out(self.ports[self.gateways.index(gateway)])
        gateway.child.signal(signal.SIGTERM)
        await gateway.child.wait()
        await gateway.start()
        if taken_out:
            self.balancer.take_out()

    async def none_is_ready(self) -> bool:
        """Whether no gateway is ready, and HAProxy, which asks them, knows."""
        log = self.balancer.child.log_tail(50)
        known = self.program == "nginx" or "backend 'gateways' has no server available" in log
        return known and not any([await self.is_ready(url) for url in self.urls])

    async def all_are_ready(self) -> bool:
        return all([await self.is_ready(url) for url in self.urls])

    async def is_ready(self, url: str) -> bool:
        async with aiohttp.ClientSession(url) as direct:
            return await is_ready(direct)

    async def serves(self, gateway: Process) -> bool:
        """Whether it has answered submits since it was started."""
        url = self.urls[self.gateways.index(gateway)]
        async with aiohttp.ClientSession(url) as direct, direct.get("/metrics") as answer:
            figures = await answer.text()
        confirmed = r'^penstock_publishes_total{.*"confirmed".*} [1-9]'
        return re.search(confirmed, figures, re.MULTILINE) is not None


async def is_ready(client: aiohttp.ClientSession) -> bool:
    async with client.get("/readyz") as answer:
        return answer.status == 200


async def submit(client: aiohttp.ClientSession, *args: Any) -> tuple[int, dict[str, Any]]:
    async with client.post("/v1/tasks", json={"task": "demo.add", "args": args}) as answer:
        return answer.status, await answer.json()


@pytest_asyncio.fixture
async def deployment(amqp_url: str, redis_url: str, tmp_path: Path) -> Deployment:
    return Deployment(amqp_url=amqp_url, redis_url=redis_url, folder=tmp_path, app="tasks.worker")


@pytest.mark.parametrize("program", ["haproxy", "nginx"])
async def test_http_events_and_sockets_go_through(deployment: Deployment, program: str):
    fleet = Fleet(deployment, program)
    async with (
        fleet.running() as client,
        deployment.worker("asyncio", "-Q", "default,coroutines", concurrency=10),
        client.ws_connect("/v1/stream", protocols=["penstock.v1"]) as socket,
    ):
        body = {"task": "demo.progress", "args": [3]}
        async with client.post("/v1/tasks", json=body) as answer:
            assert answer.status == 202
            task_id = (await answer.json())["id"]
        await socket.send_json({"op": "subscribe", "ids": [task_id]})
        async with client.get(f"/v1/tasks/{task_id}/stream") as events:
            assert events.headers["Content-Type"].startswith("text/event-stream")
            text = (await events.read()).decode()
        told = [await socket.receive_json(timeout=20)]
        while told[-1].get("state") != "SUCCESS":
            told.append(await socket.receive_json(timeout=20))
        lines = b'{"task": "demo.add", "args": [1, 2]}\n' * 2_000
        kind = {"Content-Type": "application/x-ndjson"}
        async with client.post("/v1/tasks/bulk", data=lines, headers=kind) as answer:
            summary = (await answer.text()).splitlines()[-1]

    assert '"state":"SUCCESS"' in text
    assert "PROGRESS" in text
    assert summary == '{"summary":{"accepted":2000,"rejected":0}}'


@pytest.mark.parametrize("program", ["haproxy", "nginx"])
async def test_while_rabbitmq_is_away_gateways_are_reached_and_answer_for_themselves(
    deployment: Deployment, program: str
):
    async with TcpProxy(urlsplit(deployment.amqp_url).port or 0) as proxy:
        deployment.amqp_url = proxy.url_through(deployment.amqp_url)
        fleet = Fleet(deployment, program)
        async with (
            fleet.running() as client,
            client.ws_connect("/v1/stream", protocols=["penstock.v1"]) as socket,
        ):
            _, sent = await submit(client, 1, 2)
            proxy.cut(refuse=True)
            await eventually(fleet.none_is_ready, timeout_s=20)
            status, refused = await submit(client, 1, 2)
            async with client.get(f"/v1/tasks/{sent['id']}") as answer:
                state = await answer.json()
            async with client.get("/v1/problems") as answer:
                problems = answer.status
            async with client.ws_connect("/v1/stream", protocols=["penstock.v1"]) as another:
                await another.send_json({"op": "ping"})
                pong = await another.receive_json(timeout=5)
            await socket.send_json({"op": "ping"})
            kept = await socket.receive_json(timeout=5)
            proxy.resume()
            await eventually(fleet.all_are_ready, timeout_s=20)
            back, _ = await submit(client, 1, 2)

    assert (status, refused["code"], refused["queued"]) == (503, "broker-unavailable", "no")
    assert (state["id"], state["state"], problems) == (sent["id"], "PENDING", 200)
    assert pong == kept == {"type": "pong"}
    assert back == 202


async def watch(client: aiohttp.ClientSession, ids: list[str], told: Counter[str]) -> int:
    """Watch tasks to their ends as a client does that comes back; how often it came."""
    cursors: dict[str, str | None] = dict.fromkeys(ids)
    for connections in range(1, 100):
        with contextlib.suppress(aiohttp.ClientError):
            async with client.ws_connect("/v1/stream", protocols=["penstock.v1"]) as socket:
                await socket.send_json({"op": "subscribe", "tasks": cursors})
                async for message in socket:
                    one = message.json()
                    if one["type"] != "state":
                        continue
                    cursors[one["id"]] = one["cursor"]
                    if one["state"] == "SUCCESS":
                        told[one["id"]] += 1
                        del cursors[one["id"]]
                    if not cursors:
                        return connections
        await asyncio.sleep(0.1)
    raise AssertionError(f"{len(cursors)} tasks have not ended")


@dataclass
class Load:
    """Clients that submit, and what they were answered."""

    client: aiohttp.ClientSession
    statuses: Counter[int] = field(default_factory=Counter)
    refused: list[dict[str, Any]] = field(default_factory=list)
    """Answers to a first try that were not 202; a second one has to be."""

    @contextlib.asynccontextmanager
    async def going_on(self) -> AsyncIterator[None]:
        done = asyncio.Event()

        async def submits() -> None:
            while not done.is_set():
                status, answer = await submit(self.client, 1, 2)
                self.statuses[status] += 1
                if status != 202:
                    self.refused.append(answer)
                    await asyncio.sleep(answer.get("retry_after_s", 1))
                    again, answer = await submit(self.client, 1, 2)
                    assert again == 202, answer
                await asyncio.sleep(0.05)

        clients = [asyncio.create_task(submits()) for _ in range(CLIENTS)]
        try:
            yield
        finally:
            done.set()
            await asyncio.gather(*clients)


@pytest.mark.parametrize("program", ["haproxy", pytest.param("nginx", marks=pytest.mark.long)])
async def test_a_rolling_restart_refuses_nothing_and_sockets_move(
    deployment: Deployment, program: str
):
    """HAProxy finds out by itself; to nginx it is said before."""
    fleet = Fleet(deployment, program)
    told: Counter[str] = Counter()
    async with (
        fleet.running() as client,
        deployment.worker("asyncio", "-Q", "default,coroutines", concurrency=400),
    ):

        async def sleeper(seconds: float) -> str:
            body = {"task": "demo.sleep", "args": [seconds]}
            async with client.post("/v1/tasks", json=body) as answer:
                return str((await answer.json())["id"])

        ids = [await sleeper(n * 0.2) for n in range(100)]
        watchers = [asyncio.create_task(watch(client, ids[n::4], told)) for n in range(4)]
        load = Load(client)
        async with load.going_on():
            for gateway in fleet.gateways:
                await fleet.restart(gateway, taken_out=program == "nginx")
                # Until it gets requests again, or none would be left for the next.
                await eventually(partial(fleet.serves, gateway), timeout_s=20)
        connections = await asyncio.gather(*watchers)

    assert load.refused == []
    assert load.statuses[202] > 100
    assert told == Counter(ids)
    assert max(connections) > 1, "no socket moved"


@pytest.mark.long
async def test_behind_nginx_that_knows_nothing_one_retry_mends_what_a_restart_refuses(
    deployment: Deployment,
):
    fleet = Fleet(deployment, "nginx")
    async with fleet.running() as client:
        load = Load(client)
        async with load.going_on():
            for gateway in fleet.gateways:
                await fleet.restart(gateway)
                await eventually(partial(fleet.serves, gateway), timeout_s=20)

    assert load.statuses.keys() == {202, 503}
    assert load.statuses[202] > 100
    codes = Counter(one["code"] for one in load.refused)
    assert codes["draining"]
    assert codes.keys() <= {"draining", "broker-unavailable"}, "at its end, and at its start"
    assert {one["queued"] for one in load.refused} == {"no"}
