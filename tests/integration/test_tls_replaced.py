"""Certificates are replaced while processes run: whoever connects again reads the new ones."""

import asyncio
import secrets
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import quote

import aiohttp
import pytest
from aiohttp import web

from devstack.certificates import TLS_HOST, Certificates, make_certificates
from devstack.mongo import Mongo
from devstack.ports import LOOPBACK, free_port
from devstack.redis_server import Redis
from gateway.errors import Problem
from gateway.rabbitmq.management import Management
from gateway.redis.faults import RedisAwayError
from gateway.redis.notice_connection import NoticeConnection
from history.config import HistoryConfig
from history.serving import serve_until
from penstock.worker.errors import RetryableError
from penstock.worker.redis_client import async_client, sync_client
from tasks.store import Store
from tests.support.waiting import eventually

LISTENING = "listening: host=127.0.0.1 port={}"


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return make_certificates(tmp_path / "certificates")


def replace(certificates: Certificates) -> None:
    """Put others in their place, of a CA that nobody has heard of."""
    make_certificates(certificates.ca.parent)


@pytest.fixture
async def redis(certificates: Certificates, tmp_path: Path) -> AsyncIterator[Redis]:
    server = Redis(tmp_path / "redis", password=secrets.token_hex(8), tls=certificates)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def mongo(certificates: Certificates, tmp_path: Path) -> AsyncIterator[Mongo]:
    server = Mongo(tmp_path / "mongo", tls=certificates)
    await server.start()
    yield server
    await server.kill()


async def test_redis(redis: Redis, certificates: Certificates):
    patient, threads, notices = (
        async_client(redis.url),
        sync_client(redis.url),
        NoticeConnection(redis.url),
    )
    await patient.ping()
    await notices.open()
    assert threads.ping()
    await notices.close()
    await redis.stop()
    replace(certificates)
    await redis.start()

    assert await patient.ping()
    assert await asyncio.to_thread(threads.ping)
    await notices.open()
    await notices.close()
    await patient.aclose()
    threads.close()


async def test_redis_is_refused_while_the_ca_of_its_certificate_is_another(
    redis: Redis, certificates: Certificates, tmp_path: Path
):
    notices = NoticeConnection(redis.url)
    await notices.open()
    await notices.close()
    certificates.ca.write_bytes(make_certificates(tmp_path / "others").ca.read_bytes())

    with pytest.raises(RedisAwayError, match="CERTIFICATE_VERIFY_FAILED"):
        await notices.open()


async def test_documents(certificates: Certificates, mongo: Mongo):
    store = Store(mongo.url)

    async def stores() -> bool:
        try:
            return (await store.insert_documents("readings", [{"_id": 1}])).stored == 1
        except RetryableError:
            return False

    assert await stores()
    await mongo.kill()
    replace(certificates)
    await mongo.start()

    await eventually(stores, timeout_s=10)
    store.close()


async def test_history(
    certificates: Certificates, mongo: Mongo, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    """First the CA is put beside the former one, then the server's certificate is replaced."""
    caplog.set_level("INFO")
    stop, port = asyncio.Event(), free_port()
    config = HistoryConfig(
        redis_url=f"redis://{LOOPBACK}:{free_port()}/0",  # away
        mongo_url=mongo.url,
        port=port,
        events=False,
    )
    history = asyncio.create_task(serve_until(stop, config, look_every_s=0.1))
    async with AsyncExitStack() as ends:
        ends.push_async_callback(lambda: history)
        ends.callback(stop.set)
        session = await ends.enter_async_context(aiohttp.ClientSession())

        async def is_ready() -> bool:
            try:
                async with session.get(f"http://{LOOPBACK}:{port}/readyz") as answer:
                    return answer.status == 200
            except aiohttp.ClientError:
                return False

        await eventually(is_ready, timeout_s=10)
        new = make_certificates(tmp_path / "new")
        certificates.ca.write_bytes(certificates.ca.read_bytes() + new.ca.read_bytes())
        await eventually(lambda: caplog.messages.count(LISTENING.format(port)) == 2, timeout_s=10)
        await mongo.kill()
        for one in (certificates.certificate, certificates.key, certificates.both):
            one.write_bytes((new.ca.parent / one.name).read_bytes())
        await mongo.start()
        await eventually(is_ready, timeout_s=15)


async def test_a_key_that_does_not_fit_yet_makes_documents_wait(
    certificates: Certificates, tmp_path: Path
):
    half = tmp_path / "client.pem"
    half.write_bytes(certificates.certificate.read_bytes())  # and no key
    files = f"tlsCAFile={quote(str(certificates.ca))}&tlsCertificateKeyFile={quote(str(half))}"
    store = Store(f"mongodb://{TLS_HOST}:{free_port()}/?tls=true&{files}")

    with pytest.raises(RetryableError, match="Private key doesn't match"):
        await store.insert_documents("readings", [{"_id": 1}])


async def test_the_management_api(certificates: Certificates):
    port = free_port()

    async def serving() -> web.AppRunner:
        async def queues(_: web.Request) -> web.Response:
            return web.json_response([{"name": "q"}])

        app = web.Application()
        app.router.add_get("/api/queues/{vhost}", queues)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificates.certificate, certificates.key)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, LOOPBACK, port, ssl_context=context).start()
        return runner

    url = f"https://{TLS_HOST}:{port}?{certificates.query('cafile')}"
    async with AsyncExitStack() as ends:
        api = Management(url, "amqp://localhost/")
        ends.push_async_callback(api.close)
        runner = await serving()
        assert list(await api.queues()) == ["q"]
        await runner.cleanup()
        replace(certificates)
        runner = await serving()
        ends.push_async_callback(runner.cleanup)

        try:
            assert list(await api.queues()) == ["q"]
        except Problem as problem:
            pytest.fail(problem.detail or problem.code)
