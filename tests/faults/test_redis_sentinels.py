"""Redis that fails over: every client of ours finds the new primary, and none uses the old one."""

import asyncio
import json
import secrets
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import redis
from redis.exceptions import ConnectionError as RedisConnectionError

from devstack.certificates import make_certificates
from devstack.proxy import TcpProxy
from devstack.redis_sentinels import DOWN_AFTER_S, MAX_LAG_S, RedisSentinels
from gateway.redis.client import make_redis
from gateway.redis.faults import RedisAwayError
from penstock.wire.schedules import BEAT_KEY
from penstock.worker.redis_client import async_client, sync_client
from tasks.app import build_app
from tasks.config import WorkerConfig
from tests.deployment.gateway import running_gateway
from tests.deployment.workers import Deployment
from tests.support.stream_client import Stream
from tests.support.waiting import eventually
from topology.layout import load

pytestmark = pytest.mark.timeout(180)

SOON_S = DOWN_AFTER_S + 15
"""A failover takes a second or two behind `DOWN_AFTER_S`; two busy cores are allowed for."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def sentinels(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RedisSentinels]:
    rig = RedisSentinels(
        tmp_path_factory.mktemp("sentinels"), password="servers", sentinel_password="sentinels"
    )
    await rig.start()
    yield rig
    await rig.stop()


async def submit(client: Any, task: str, *args: Any, key: str = "") -> str:
    headers = {"Idempotency-Key": key} if key else {}
    answer = await client.post("/v1/tasks", json={"task": task, "args": args}, headers=headers)
    told = await answer.json()
    assert answer.status == 202, told
    return str(told["id"])


async def states(client: Any, ids: list[str]) -> set[str]:
    answer = await client.post("/v1/tasks/status", json={"ids": ids})
    assert answer.status == 200
    return {one["state"] for one in (await answer.json())["tasks"]}


async def test_every_client_finds_the_new_primary(
    amqp_url: str, sentinels: RedisSentinels, tmp_path: Path
):
    url = sentinels.url
    deployment = Deployment(amqp_url=amqp_url, redis_url=url, folder=tmp_path, app="tasks.worker")
    beat = deployment.celery("beat", "beat", "-l", "info")
    queues = ("-Q", "default,coroutines")
    async with (
        running_gateway(amqp_url=amqp_url, redis_url=url) as client,
        deployment.worker("asyncio", *queues, name="a", concurrency=10) as coroutines,
        deployment.worker("prefork", *queues, name="p") as prefork,
        client.ws_connect("/v1/stream", protocols=["penstock.v1"]) as socket,
    ):
        beat.spawn()
        with build_app(WorkerConfig(amqp_url=amqp_url, redis_url=url), load()) as app:
            await eventually(lambda: deployment.redis.exists(BEAT_KEY), timeout_s=30)
            stream = Stream(socket)
            running = [await submit(client, "demo.sleep", 6) for _ in range(6)]
            await stream.subscribe(*running)
            got = asyncio.create_task(
                asyncio.to_thread(app.AsyncResult(running[0]).get, timeout=90)
            )
            await eventually(lambda: _started(client, running), timeout_s=30)
            old = await sentinels.primary()
            await old.kill()
            killed_at = time.time()
            meanwhile = [await submit(client, "demo.add", n, n) for n in range(10)]

            keyed = await eventually(
                lambda: submit(client, "demo.add", 1, 2, key=secrets.token_hex(8)), SOON_S, 0.1
            )
            await old.start()
            ids = [*running, *meanwhile, keyed]
            await eventually(lambda: _all(client, ids, "SUCCESS"), 90, 0.2)
            ends: list[Any] = []
            while len(ends) < len(running):
                ends += [one for one in await stream.take(1, 60) if one.get("state") == "SUCCESS"]
            assert sorted(one["id"] for one in ends) == sorted(running)
            assert await got == 6
            await eventually(lambda: _beats_since(deployment, killed_at), SOON_S, 0.2)
            await eventually(lambda: _well(client), SOON_S, 0.2)
            assert coroutines.child.running
            assert prefork.child.running
            assert await sentinels.primary() is not old
        await beat.stop()


async def _started(client: Any, ids: list[str]) -> bool:
    return "PENDING" not in await states(client, ids)


async def _all(client: Any, ids: list[str], state: str) -> bool:
    return await states(client, ids) == {state}


async def _well(client: Any) -> bool:
    async with client.get("/readyz") as answer:
        return bool((await answer.json())["status"] == "ok")


async def _beats_since(deployment: Deployment, at: float) -> bool:
    found = json.loads(deployment.redis.get(BEAT_KEY) or "{}")
    return bool(found.get("at", 0) > at)


async def test_a_primary_that_became_a_replica_is_used_no_more(sentinels: RedisSentinels):
    gateway, waiting = make_redis(sentinels.url), async_client(sentinels.url, protocol=2)
    threads = sync_client(sentinels.url)
    await eventually(lambda: _writes(gateway), SOON_S, 0.1)
    await waiting.ping()
    await asyncio.to_thread(threads.ping)
    primary = await sentinels.primary()
    other = next(one for one in sentinels.servers if one is not primary)
    by_hand = redis.Redis.from_url(primary.url)
    by_hand.execute_command("REPLICAOF", "127.0.0.1", other.port)

    # The Sentinels still name it: the server itself says that it is none.
    with pytest.raises(RedisConnectionError, match="is no primary: slave"):
        await asyncio.to_thread(sync_client(sentinels.url).ping)
    with pytest.raises(RedisConnectionError, match="is no primary: slave"):
        await async_client(sentinels.url).ping()
    with pytest.raises(RedisAwayError, match=r"is no primary: slave|now a slave"):
        await gateway.set("key", b"value", keep_s=9)
    with pytest.raises(RedisConnectionError):
        await asyncio.to_thread(threads.set, "key", "value")
    by_hand.execute_command("REPLICAOF", "NO", "ONE")
    await eventually(lambda: _writes(gateway), SOON_S, 0.1)
    assert await waiting.set("key", "value")
    await waiting.aclose()
    await gateway.close()


async def _writes(client: Any) -> bool:
    try:
        await client.set("key", b"value", keep_s=9)
    except RedisAwayError:
        return False
    return True


async def test_sentinels_and_servers_speak_tls(tmp_path: Path):
    rig = RedisSentinels(
        tmp_path, password="servers", sentinel_password="other",
        tls=make_certificates(tmp_path / "certificates"),
    )  # fmt: skip
    await rig.start()
    gateway = make_redis(rig.url)
    await gateway.set("key", b"value", keep_s=9)
    assert await asyncio.to_thread(sync_client(rig.url).get, "key") == b"value"
    await gateway.close()
    without_ca = rig.url.partition("?")[0] + "?sentinel_password=other"
    untrusting = make_redis(without_ca)
    with pytest.raises(RedisAwayError, match=r"(?i)certificate"):
        await untrusting.ping()
    await untrusting.close()
    wrong = make_redis(rig.url.replace("sentinel_password=other", "sentinel_password=wrong"))
    with pytest.raises(RedisAwayError, match=r"no Sentinel of .* knows the primary 'penstock'"):
        await wrong.ping()
    await wrong.close()
    await rig.stop()


COPIES = 1
"""`REDIS_WAIT_REPLICAS`; with 0 the test fails."""
KEYED = 100
REVOKED = 100
DUE_S = 45
"""Behind the failover, so that what runs then was not stopped in time."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def lagging(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RedisSentinels]:
    rig = RedisSentinels(tmp_path_factory.mktemp("lagging"))
    await rig.start()
    yield rig
    await rig.stop()


async def insist(call: Callable[[], Awaitable[tuple[int, Any]]]) -> dict[str, Any]:
    """Repeat a request as its client does, while it is refused for the moment."""
    while True:
        status, told = await call()
        if status in {200, 202} or told["code"] == "already-ended":
            return dict(told)
        assert status in {409, 503}, told
        assert told["code"] in {"state-unavailable", "idempotency-in-flight"}, told
        await asyncio.sleep(0.2)


async def test_a_lagging_failover_runs_nothing_twice_and_nothing_revoked(
    amqp_url: str, lagging: RedisSentinels, tmp_path: Path
):
    deployment = Deployment(
        amqp_url=amqp_url, redis_url=lagging.url, folder=tmp_path,
        env={"REDIS_WAIT_REPLICAS": str(COPIES)},
    )  # fmt: skip
    async with (
        running_gateway(
            amqp_url=amqp_url, redis_url=lagging.url, redis_wait_replicas=COPIES
        ) as client,
        deployment.worker("asyncio", "-Q", "default", name="a", concurrency=20),
        deployment.worker("threads", "-Q", "default", name="t"),
    ):

        async def keyed(number: int) -> tuple[int, Any]:
            headers = {"Idempotency-Key": f"key-{number}"}
            body = {"task": "demo.run", "args": [f"keyed-{number}"]}
            async with client.post("/v1/tasks", json=body, headers=headers) as answer:
                return answer.status, await answer.json()

        async def revoked(task_id: str) -> tuple[int, Any]:
            async with client.delete(f"/v1/tasks/{task_id}") as answer:
                return answer.status, await answer.json()

        async def due_later(number: int) -> str:
            options = {"countdown": DUE_S}
            body = {"task": "demo.run", "args": [f"revoked-{number}"], "options": options}
            async with client.post("/v1/tasks", json=body) as answer:
                assert answer.status == 202
                return str((await answer.json())["id"])

        waiting = [await due_later(number) for number in range(REVOKED)]
        last = await due_later(REVOKED)
        due_at = time.monotonic() + DUE_S
        old = await lagging.primary()
        replica = next(one for one in lagging.servers if one is not old)

        async def paced(wait_s: float, call: Callable[[], Awaitable[tuple[int, Any]]]) -> Any:
            await asyncio.sleep(wait_s)
            return await insist(call)

        answers = asyncio.gather(
            *(paced(n * 0.02, partial(keyed, n)) for n in range(KEYED)),
            *(paced(n * 0.02, partial(revoked, one)) for n, one in enumerate(waiting)),
        )
        # In the middle of it the replica stops following, and a second later the primary dies.
        await asyncio.sleep(0.8)
        replica.child.signal(signal.SIGSTOP)
        # Or it would find the rest in the buffer of its socket.
        await asyncio.to_thread(redis.Redis.from_url(old.url).client_kill_filter, _type="replica")
        await asyncio.sleep(1)
        await old.kill()
        replica.child.signal(signal.SIGCONT)
        await eventually(lambda: _is_primary(lagging, replica), SOON_S, 0.1)
        await old.start()

        hurry = asyncio.create_task(_quicker(deployment.redis))
        told = await answers
        assert {one["state"] for one in told[KEYED:]} == {"REVOKED"}
        ids = [one["id"] for one in told[:KEYED]]
        again = [(await insist(partial(keyed, n)))["id"] for n in range(KEYED)]
        assert again == ids
        hurry.cancel()
        assert time.monotonic() < due_at, "the machine is too slow for this test"

        await eventually(lambda: _ran(deployment, f"revoked-{REVOKED}"), DUE_S + 60, 0.2)
        runs = Counter(deployment.runs_file.read_text().split())
        assert {name for name in runs if name.startswith("revoked-")} == {f"revoked-{REVOKED}"}
        assert {name: count for name, count in runs.items() if count > 1} == {}
        assert len(runs) == KEYED + 1
        assert await states(client, [*ids, last]) == {"SUCCESS"}


async def _quicker(client: Any) -> None:
    """Have claims whose end the failover has lost count as unknown after 3 s instead of 60."""
    while True:
        with suppress(redis.RedisError):  # a failover, or the claim has just changed
            await asyncio.to_thread(_age, client)
        await asyncio.sleep(0.5)


def _age(client: Any) -> None:
    for key in client.scan_iter("penstock:idempotency:*"):
        with client.pipeline() as claim:
            claim.watch(key)
            record = json.loads(claim.get(key) or "{}")
            if record.get("state") == "in-flight" and 3 < time.time() - record["at"] < 60:
                claim.multi()
                claim.set(key, json.dumps(record | {"at": record["at"] - 60}), keepttl=True)
                claim.execute()


FENCE = ("min-replicas-to-write 1", f"min-replicas-max-lag {MAX_LAG_S}")


@pytest.mark.long
@pytest.mark.parametrize("fenced", [True, False])
async def test_only_a_fence_keeps_a_worker_at_a_cut_off_primary_from_what_was_revoked_elsewhere(
    amqp_url: str, tmp_path: Path, *, fenced: bool
):
    """Without it the revoked task runs: the test sees what it looks for."""
    through = TcpProxy(0)
    rig = RedisSentinels(
        tmp_path / "rig", replicas=2, seen_at=through.port, more=FENCE if fenced else ()
    )
    first = rig.servers[0]
    through.target_port = first.port
    deployment = Deployment(amqp_url=amqp_url, redis_url=first.url, folder=tmp_path)
    async with through, AsyncExitStack() as ends:
        ends.push_async_callback(rig.stop)
        await rig.start()
        client = await ends.enter_async_context(
            running_gateway(amqp_url=amqp_url, redis_url=rig.url)
        )
        worker = await ends.enter_async_context(deployment.worker("threads", "-Q", "default"))
        ran = await submit(client, "demo.run", "before")
        await eventually(lambda: _all(client, [ran], "SUCCESS"), 30, 0.1)
        body = {"task": "demo.run", "args": ["revoked"], "options": {"countdown": DUE_S}}
        async with client.post("/v1/tasks", json=body) as answer:
            task_id = (await answer.json())["id"]
        due_at = time.monotonic() + DUE_S

        # Its replicas and the Sentinels hear of it no more; the worker goes on with it.
        through.stall()
        await eventually(lambda: _other_primary(rig, first), SOON_S, 0.1)
        assert (await insist(partial(_revoke, client, task_id)))["state"] == "REVOKED"
        assert time.monotonic() < due_at, "the machine is too slow for this test"
        if fenced:
            log = worker.child
            await eventually(lambda: b"NOREPLICAS" in log.logged(), DUE_S + 30, 0.2)
            assert deployment.runs == ["before"]
        else:
            await eventually(lambda: deployment.runs == ["before", "revoked"], DUE_S + 30, 0.2)
        await worker.kill()


async def _revoke(client: Any, task_id: str) -> tuple[int, Any]:
    async with client.delete(f"/v1/tasks/{task_id}") as answer:
        return answer.status, await answer.json()


async def _other_primary(rig: RedisSentinels, first: Any) -> bool:
    return await rig.primary() is not first


async def _is_primary(rig: RedisSentinels, server: Any) -> bool:
    return await rig.primary() is server


def _ran(deployment: Deployment, mark: str) -> bool:
    return mark in deployment.runs_file.read_text().split()
