"""Every process on servers that speak TLS only, with a CA of their own: reached, or refused."""

import asyncio
import json
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
import pytest_asyncio
from kombu.exceptions import OperationalError
from pymongo import AsyncMongoClient
from redbeat.schedulers import get_redis
from redis.exceptions import ConnectionError as RedisConnectionError

from devstack.certificates import TLS_HOST, Certificates, make_certificates
from devstack.children import Child
from devstack.mongo import Mongo
from devstack.ports import LOOPBACK, free_port
from devstack.product import Launcher, gateway_url, workers_for
from devstack.programs import child_environment
from devstack.proxy import TcpProxy
from devstack.rabbit import Rabbit
from devstack.redis_server import Redis
from gateway.config import GatewayConfig
from gateway.errors import Problem
from gateway.rabbitmq.management import Management
from penstock.worker.errors import RetryableError
from penstock.worker.redis_client import async_client, sync_client
from tasks.app import build_app
from tasks.config import WorkerConfig
from tasks.store import Store
from tests.deployment.gateway import running_gateway
from tests.deployment.workers import Deployment
from tests.support.waiting import eventually
from topology.layout import load
from topology.management import ManagementError, fetch

VERIFY_FAILED = r"(?i)certificate.?verify.?failed"


@dataclass(frozen=True, kw_only=True)
class Urls:
    """How each server is reached."""

    amqp: str
    redis: str
    mongo: str
    management: str

    def variables(self) -> dict[str, str]:
        return {
            "AMQP_URL": self.amqp,
            "REDIS_URL": self.redis,
            "MONGO_URL": self.mongo,
            "RABBITMQ_MANAGEMENT_URL": self.management,
        }

    def replaced(self, old: str, new: str) -> "Urls":
        return Urls(**{name: url.replace(old, new) for name, url in vars(self).items()})


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def urls(
    certificates: Certificates, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Urls]:
    """Three servers without a plain listener."""
    folder = tmp_path_factory.mktemp("servers")
    rabbit = Rabbit(folder / "rabbit", tls=certificates)
    redis = Redis(folder / "redis", password=secrets.token_hex(8), tls=certificates)
    mongo = Mongo(folder / "mongo", tls=certificates)
    await asyncio.gather(rabbit.start(), redis.start(), mongo.start())
    yield Urls(amqp=rabbit.url, redis=redis.url, mongo=mongo.url, management=rabbit.management_url)
    await asyncio.gather(rabbit.kill(), redis.stop(), mongo.kill())
    await rabbit.stop()


@pytest.fixture(params=["another CA", "another name"])
def refused(
    request: pytest.FixtureRequest, urls: Urls, certificates: Certificates, tmp_path: Path
) -> Urls:
    """The same servers, reached in a way in which they must not be trusted."""
    if request.param == "another name":
        return urls.replaced(f"{TLS_HOST}:", f"{LOOPBACK}:")
    return urls.replaced(str(certificates.ca), str(make_certificates(tmp_path / "others").ca))


@pytest_asyncio.fixture
async def client(urls: Urls, tmp_path: Path) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of a deployment: a gateway, a worker of each pool, beat, Flower."""
    env = child_environment(
        **urls.variables(),
        TASK_ID_KEYS=f"1:{secrets.token_hex(16)}",
        CALLBACK_HOSTS="nowhere.invalid",
        CALLBACK_SECRET="a secret",
    )
    launcher = Launcher(env=env, logs=tmp_path)
    port = free_port()
    processes = [
        launcher.gateway(LOOPBACK, port),
        launcher.beat(),
        *(launcher.worker(spec) for spec in workers_for(load().queues)),
    ]
    try:
        await asyncio.gather(*(process.start() for process in processes))
        async with aiohttp.ClientSession(gateway_url(LOOPBACK, port)) as session:
            yield session
    finally:
        await asyncio.gather(*(process.stop() for process in processes))
        for process in processes:
            print(process.child.name, process.child.log_tail(40), sep="\n")  # noqa: T201


async def answer(client: Any, method: str, path: str, **options: Any) -> tuple[int, Any]:
    async with client.request(method, path, **options) as response:
        return response.status, await response.json()


LAYOUT = """
[queues.installed]
owner = "app"

[[routes]]
task = "installed.*"
exchange = ""
routing_key = "installed"
"""


@pytest.mark.parametrize("pool", ["asyncio", "prefork"])
async def test_an_app_that_says_in_settings_how_redis_is_reached_works_with_one_line(
    urls: Urls, certificates: Certificates, tmp_path: Path, pool: str
):
    layout = tmp_path / "layout.toml"
    layout.write_text(LAYOUT)
    amqp, redis = urlsplit(urls.amqp), urlsplit(urls.redis)
    ca = str(certificates.ca)
    settings = {
        "broker_use_ssl": {"ca_certs": ca, "server_hostname": TLS_HOST},
        "redis_password": redis.password,
        "redis_backend_use_ssl": {"ssl_cert_reqs": "CERT_REQUIRED", "ssl_ca_certs": ca},
    }
    deployment = Deployment(
        amqp_url=amqp._replace(query="").geturl(),
        redis_url=urls.redis,
        folder=tmp_path,
        app="tests.apps.installed_app",
        env={
            "INSTALL": "late",
            "SETTINGS": json.dumps(settings),
            "REDIS_URL": f"redis://{redis.hostname}:{redis.port}/0",
        },
    )
    async with (
        deployment.worker(pool),
        running_gateway(amqp_url=urls.amqp, redis_url=urls.redis, topology_file=layout) as gateway,
    ):
        body = {"task": "installed.report_async", "args": [1]}

        async def ended() -> bool:
            """Whether it went well; a gateway on a slow machine may not have seen the queue yet."""
            status, told = await answer(gateway, "POST", "/v1/tasks?wait=15", json=body)
            assert (status, told.get("state"), told.get("result")) == (200, "SUCCESS", 1), told
            return True

        await eventually(ended, timeout_s=30)
        _, workers = await answer(gateway, "GET", "/v1/workers")
        assert [one["status"] for one in workers["workers"]] == ["online"]


async def test_every_process_works_over_tls_alone(client: aiohttp.ClientSession, urls: Urls):
    ready = await answer(client, "GET", "/readyz")
    assert (ready[0], ready[1]["status"]) == (200, "ok"), ready

    # There and back: a prefork worker, its result backend, the watch that waits for the end.
    status, told = await answer(
        client, "POST", "/v1/tasks?wait=15", json={"task": "demo.add", "args": [1, 2]}
    )
    assert (status, told["state"], told["result"]) == (200, "SUCCESS", 3)
    # A retry: published by a child, through the delay levels.
    retried = {"task": "demo.flaky", "args": [1]}
    status, told = await answer(client, "POST", "/v1/tasks?wait=15", json=retried)
    assert (status, told["result"]) == (200, 2)
    # A command of the gateway's to the workers, over its own connection.
    slow = {"task": "demo.sleep", "args": [60]}
    _, submitted = await answer(client, "POST", "/v1/tasks", json=slow)
    path = submitted["links"]["self"]

    async def started() -> bool:
        return (await answer(client, "GET", path))[1]["state"] == "STARTED"

    await eventually(started, timeout_s=15)
    status, _ = await answer(client, "DELETE", f"{path}?terminate=true")
    assert status == 202
    assert (await answer(client, "GET", f"{path}?wait=15"))[1]["state"] == "REVOKED"

    # More than one TLS record, through the asyncio pool into MongoDB.
    documents = [{"_id": str(n), "text": "x" * 400} for n in range(1500)]
    status, told = await answer(
        client, "POST", "/v1/ingest/secrets?ack=stored&wait=15", json=documents
    )
    assert (status, told["stored"]) == (200, 1500)
    mongo: AsyncMongoClient[Any] = AsyncMongoClient(urls.mongo, serverSelectionTimeoutMS=3_000)
    async with mongo:
        assert await mongo["penstock"]["secrets"].count_documents({}) == 1500

        async def beaten() -> Any:
            return await mongo["penstock"]["penstock.periodic"].find_one()

        await eventually(beaten, timeout_s=20)

    # What else the gateway has of RabbitMQ: its consumers, figures, depths and dead letters.
    management = Management(urls.management, urls.amqp)

    async def consumed() -> bool:
        queues = await management.queues()
        return all(
            queues[name].consumers
            for name in ("callbacks", "dead.outcomes", "default", "mongo_queue")
        )

    await eventually(consumed, timeout_s=15, every_s=0.2)
    await management.close()
    assert (await answer(client, "GET", "/v1/queues"))[0] == 200
    route = {"task": "demo.add"}
    _, told = await answer(client, "POST", "/v1/topology/route", json=route)
    assert told["queues"][0]["consumers"] >= 1
    live = await asyncio.to_thread(fetch, urls.management, "/")
    assert {"default", "dead.outcomes"} <= live.queues.keys()
    assert (await answer(client, "GET", "/v1/dead-letters/default"))[0] == 200


async def test_a_gateway_tells_whom_it_does_not_trust_and_hangs_nowhere(
    refused: Urls, caplog: pytest.LogCaptureFixture
):
    config = GatewayConfig.from_env(refused.variables())
    async with running_gateway(config, ready=False) as client, asyncio.timeout(15):

        async def told() -> Any:
            status, body = await answer(client, "GET", "/readyz")
            checks = body["checks"]
            assert status == 503
            assert not checks["redis"]["ok"]
            assert "CERTIFICATE_VERIFY_FAILED" in checks["redis"]["detail"]
            return "CERTIFICATE_VERIFY_FAILED" in checks["rabbitmq"]["detail"]

        await eventually(told)
        status, problem = await answer(
            client, "POST", "/v1/tasks", json={"task": "demo.add", "args": [1, 2]}
        )
        assert (status, problem["code"], problem["queued"]) == (503, "broker-unavailable", "no")
        status, problem = await answer(client, "GET", "/v1/dead-letters/default")
        assert (status, problem["code"]) == (503, "broker-unavailable")
        status, problem = await answer(client, "GET", "/v1/schedules")
        assert (status, problem["code"]) == (503, "state-unavailable")
        management = Management(refused.management, refused.amqp)
        with pytest.raises(Problem, match="CertificateError"):
            await management.queues()
        await management.close()
        with pytest.raises(ManagementError, match=VERIFY_FAILED):
            await asyncio.to_thread(fetch, refused.management, "/")
    events = {
        vars(record).get("loop", record.message): vars(record).get("reason", "")
        for record in caplog.records
    }
    for event in ("broker-tls-failed", "notices", "outcomes"):
        assert "CERTIFICATE_VERIFY_FAILED" in events[event], event


async def touch_all(urls: Urls) -> list[BaseException | None]:
    """Use each client of a worker and of beat once; what each of them raised."""
    config = WorkerConfig.from_env(urls.variables())
    app = build_app(config, load())

    def broker() -> None:
        with app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, interval_start=0)

    async def own_async() -> None:
        async with async_client(config.redis_url) as redis:
            await redis.ping()

    async def mongo() -> None:
        store = Store(f"{config.mongo_url}&serverSelectionTimeoutMS=1000")
        try:
            await store.insert_documents("touched", [{"_id": secrets.token_hex(8)}])
        finally:
            store.close()

    backend, own, beat = app.backend.client, sync_client(config.redis_url), get_redis(app)
    calls = [
        asyncio.to_thread(broker),
        *(asyncio.to_thread(redis.ping) for redis in (backend, own, beat)),
        own_async(),
        mongo(),
    ]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    return [outcome if isinstance(outcome, BaseException) else None for outcome in outcomes]


async def test_each_client_of_a_worker_trusts_the_ca_of_its_url(urls: Urls):
    assert await touch_all(urls) == [None] * 6


async def test_the_ca_may_be_named_by_openssl_for_all(
    urls: Urls, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.ca))
    plain = {name: url.partition("?")[0] for name, url in vars(urls).items()}
    unnamed = Urls(**plain | {"mongo": f"{plain['mongo']}?tls=true"})

    assert await touch_all(unnamed) == [None] * 6
    async with running_gateway(GatewayConfig.from_env(unnamed.variables())) as client:
        assert (await answer(client, "GET", "/readyz"))[1]["checks"]["redis"]["ok"]
        assert (await answer(client, "GET", "/v1/queues"))[0] == 200
    live = await asyncio.to_thread(fetch, unnamed.management, "/")
    assert "default" in live.queues


async def test_each_client_of_a_worker_refuses_another_ca_and_another_name(refused: Urls):
    outcomes = await touch_all(refused)

    assert [type(outcome) for outcome in outcomes] == [
        OperationalError, *[RedisConnectionError] * 4, RetryableError
    ]  # fmt: skip
    for outcome in outcomes:
        assert re.search(VERIFY_FAILED, str(outcome)), outcome


def said(child: Child, line: bytes, times: int) -> bool:
    return len(re.findall(line, child.logged())) >= times


@pytest.mark.parametrize("refused", ["another CA"], indirect=True)
async def test_a_worker_and_beat_say_whom_they_do_not_trust_and_go_on_trying(
    refused: Urls, urls: Urls, tmp_path: Path
):
    worker = Launcher(env=child_environment(**refused.variables()), logs=tmp_path).worker(
        workers_for(["mongo_queue"])[0]
    )
    env = child_environment(**urls.variables()) | {"REDIS_URL": refused.redis}
    beat = Launcher(env=env, logs=tmp_path).beat()
    told = {
        worker.child: (rb"consumer: Cannot connect to amqps://.*CERTIFICATE_VERIFY_FAILED", 2),
        # A loop says each cause once.
        beat.child: (rb"beat: not leading.*CERTIFICATE_VERIFY_FAILED", 1),
    }
    try:
        for child in told:
            child.spawn()
        for child, (line, times) in told.items():
            await eventually(partial(said, child, line, times), timeout_s=20)
            assert child.running
    finally:
        await asyncio.gather(worker.kill(), beat.kill())


@pytest.mark.parametrize("pool", ["asyncio", "threads"])
async def test_a_worker_leaves_a_silent_host(urls: Urls, tmp_path: Path, pool: str):
    at = urlsplit(urls.amqp)
    login = at.netloc.rpartition("@")[0]
    async with AsyncExitStack() as stack:
        hosts = [await stack.enter_async_context(TcpProxy(at.port or 0)) for _ in range(2)]
        names = ",".join(f"{TLS_HOST}:{host.port}" for host in hosts)
        both = at._replace(netloc=f"{login}@{names}", query=f"{at.query}&heartbeat=4").geturl()
        deployment = Deployment(amqp_url=both, redis_url=urls.redis, folder=tmp_path)
        async with deployment.worker(pool) as worker:
            max(hosts, key=lambda host: host.connections).stall()
            await eventually(lambda: b"has said nothing for" in worker.child.logged(), timeout_s=60)

            def connected() -> bool:
                return b"Connected to amqp" in worker.child.logged().partition(b"said nothing")[2]

            await eventually(connected, timeout_s=60)
            assert worker.child.running
