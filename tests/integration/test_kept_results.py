"""What the results of each tenant take in Redis: charged to who asked for them, and bounded."""

import asyncio
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from redis import Redis as RedisClient

from devstack.redis_server import Redis
from gateway.api import parts
from gateway.config import Quotas
from penstock.wire.kept_results import BESIDES, MARKS, usage_key
from tests.deployment.workers import Deployment
from tests.support.waiting import eventually

DAY_S = 86_400
QUOTA = 200_000
EXPIRES_S = 8
BIG = {"task": "demo.echo", "args": ["x" * 150_000]}
ADD: dict[str, Any] = {"task": "demo.add", "args": [1, 2]}
TO_ONE: dict[str, Any] = {"task": "demo.add", "args": [3]}
WORKS: dict[str, tuple[str, dict[str, Any], int]] = {
    "plain": ("/v1/tasks", ADD, 1),
    "options": ("/v1/tasks", {**ADD, "options": {"headers": {"client": "x"}}}, 1),
    "retry": ("/v1/tasks", {"task": "demo.flaky", "args": [1]}, 1),
    "failure": ("/v1/tasks", {"task": "demo.fail", "args": ["no"]}, 1),
    "function": ("/v1/tasks", {"task": "demo.start", "args": [2]}, 3),
    "coroutine": ("/v1/tasks", {"task": "demo.start_async", "args": [2]}, 3),
    "chain": ("/v1/canvas", {"chain": [ADD, TO_ONE, TO_ONE]}, 3),
    "chord": (
        "/v1/canvas",
        {"chord": {"header": [ADD, ADD], "body": {"task": "demo.total"}}},
        3,
    ),
    "link": ("/v1/canvas", {**ADD, "link": [TO_ONE]}, 2),
    "errback": (
        "/v1/canvas",
        {
            "task": "demo.fail",
            "args": ["no"],
            "link_error": [{"task": "demo.run", "args": ["mark"], "immutable": True}],
        },
        2,
    ),
    "lines": ("/v1/tasks", {"task": "demo.talk", "args": [100, 5000]}, 1),
    "progress": ("/v1/tasks", {"task": "demo.progress", "args": [20, 0]}, 1),
}
"""By tenant: what is submitted, and how many records come of it."""


@pytest.fixture
def deployment(amqp_url: str, redis_url: str, tmp_path: Path) -> Deployment:
    return Deployment(amqp_url=amqp_url, redis_url=redis_url, folder=tmp_path)


@pytest.fixture
def make_tenants(make_gateway: Any, tmp_path: Path):
    async def make(*names: str, quota: int | None = None) -> Any:
        path = tmp_path / "keys.toml"
        path.write_text(
            "".join(
                f'[[key]]\nname = "{name}"\nsha256 = "{sha256(name.encode()).hexdigest()}"\n'
                'scopes = ["submit", "ingest", "read", "schedule"]\n'
                for name in names
            )
        )
        gateway = await make_gateway(keys_file=path, quotas=Quotas(result_bytes=quota))
        gateway.app[parts.ACCESS].kept_results.looper.interval_s = 0.05
        return gateway

    return make


async def ask(gateway: Any, tenant: str, path: str, body: Any, **headers: str) -> Any:
    headers = {"Authorization": f"Bearer {tenant}", **headers}
    method = "PUT" if "/schedules/" in path and not path.endswith("/run") else "POST"
    async with gateway.request(method, path, json=body, headers=headers) as answer:
        return answer.status, await answer.json(), answer.headers.get("Retry-After")


async def test_a_tenant_over_its_quota_waits_until_results_expire(
    deployment: Deployment, make_tenants: Any
):
    gateway = await make_tenants("heavy", "light", quota=QUOTA)
    deployment.env = {"RESULT_EXPIRES_S": str(EXPIRES_S)}
    async with deployment.worker(concurrency=2):
        every = {"task": "demo.add", "args": [1, 2], "every": 3600}
        assert (await ask(gateway, "heavy", "/v1/schedules/s", every))[0] == 201
        assert (await ask(gateway, "heavy", "/v1/tasks?wait=20", BIG))[0] == 200
        await asyncio.gather(*(ask(gateway, "heavy", "/v1/tasks?wait=20", BIG) for _ in "ab"))

        async def refused() -> Any:
            answer = await ask(gateway, "heavy", "/v1/tasks", ADD)
            return answer if answer[0] == 429 else None

        _, problem, retry_after = await eventually(refused, 10)
        assert (problem["code"], problem["quota"], problem["queued"]) == (
            "rate-limited",
            "results",
            "no",
        )
        assert 1 <= int(retry_after) <= EXPIRES_S + 2
        for path, body in (
            ("/v1/tasks", {**ADD, "options": {"headers": {"client": "x"}}}),
            ("/v1/canvas", {"chain": [ADD, TO_ONE]}),
            ("/v1/ingest/readings", {"x": 1}),
            ("/v1/schedules/s/run", None),
        ):
            status, problem, _ = await ask(gateway, "heavy", path, body)
            assert (status, problem.get("quota")) == (429, "results"), problem
        status, bulk, _ = await ask(gateway, "heavy", "/v1/tasks/bulk", [ADD, ADD])
        assert [(line["code"], line["quota"]) for line in bulk] == [("rate-limited", "results")] * 2

        ignoring = {**ADD, "options": {"ignore_result": True}}
        assert (await ask(gateway, "heavy", "/v1/tasks", ignoring))[0] == 202
        assert (await ask(gateway, "heavy", "/v1/schedules/t", every))[0] == 201
        for path in ("/v1/tasks", "/v1/tasks/bulk", "/v1/canvas"):
            body = {"/v1/tasks": ADD, "/v1/tasks/bulk": [ADD], "/v1/canvas": {"chain": [ADD]}}
            assert (await ask(gateway, "light", path, body[path]))[0] in {200, 202}, path

        async def taken() -> bool:
            return bool((await ask(gateway, "heavy", "/v1/tasks", ADD))[0] == 202)

        await eventually(taken, EXPIRES_S + 10, 0.1)


@pytest.mark.parametrize("pool", ["threads", "prefork", "asyncio"])
async def test_what_comes_of_a_tenants_tasks_is_charged_to_it(
    deployment: Deployment, make_tenants: Any, pool: str
):
    gateway = await make_tenants(*WORKS)
    redis = deployment.redis
    async with deployment.worker(pool, concurrency=2):
        for tenant, (path, body, _) in WORKS.items():
            status, answer, _ = await ask(gateway, tenant, path, body)
            assert status == 202, (tenant, answer)

        def ended() -> bool:
            count = sum(1 for _ in redis.scan_iter("penstock:ended:*", count=1000))
            return count == sum(count for _, _, count in WORKS.values())

        await eventually(ended, 40)

    soon = time.time() + 2 * DAY_S  # what is gone later are marks of ends, and groups
    charged, marks = dict.fromkeys(WORKS, 0), 0
    for tenant in WORKS:
        for gone, size in redis.hgetall(usage_key(tenant)).items():
            if int(gone) < soon:
                charged[tenant] += int(size)
            else:
                assert soon + 5 * DAY_S < int(gone) < soon + 8 * DAY_S
                marks += int(size)
    for tenant, (_, _, count) in WORKS.items():
        if tenant not in {"lines", "progress", "retry"}:
            assert count * 500 <= charged[tenant] <= count * 2_500, (tenant, charged[tenant])
    assert 500_000 <= charged["lines"] <= 700_000, charged["lines"]
    assert 6_000 <= charged["progress"] <= 15_000, charged["progress"]
    ends = list(redis.scan_iter("penstock:ended:*", count=1000))
    headers = (redis.strlen(name) + BESIDES for name in redis.scan_iter("penstock:header:*"))
    assert marks == MARKS * sum(name.endswith("0}") for name in ends) + sum(headers)
    names = [
        name
        for kind in ("celery-task-meta-*", "penstock:events:*")
        for name in redis.scan_iter(kind, count=1000)
    ]
    # Redis does not count the entry of the expiry, nor the places in its two tables.
    takes = sum(redis.memory_usage(name, samples=0) + 61 for name in names)
    assert 0.9 * takes <= sum(charged.values()) <= 1.1 * takes
    assert all(redis.ttl(usage_key(tenant)) > 0 for tenant in WORKS)


async def test_ends_that_the_gateway_records_are_charged(deployment: Deployment, make_tenants: Any):
    late = {**ADD, "options": {"expires": 0.3}}
    works: dict[str, tuple[str, dict[str, Any], int]] = {
        "expires": ("/v1/tasks", late, 1),
        "chains": ("/v1/canvas", {"chain": [{**late, "link": [TO_ONE]}, *[TO_ONE] * 150]}, 152),
        "revokes": ("/v1/tasks", ADD, 1),  # last: a queue drops what has expired at its head
    }
    gateway = await make_tenants(*works)
    redis = deployment.redis
    for tenant, (path, body, _) in works.items():
        status, answer, _ = await ask(gateway, tenant, path, body)
        assert status == 202, answer
        if tenant == "revokes":
            headers = {"Authorization": f"Bearer {tenant}"}
            for _ in range(2):
                await gateway.delete(f"/v1/tasks/{answer['id']}", headers=headers)

    def ended() -> bool:
        count = sum(1 for _ in redis.scan_iter("penstock:ended:*", count=1000))
        return count == sum(count for _, _, count in works.values())

    await eventually(ended, 20)
    soon, charged, marks = time.time() + 2 * DAY_S, dict.fromkeys(works, 0), 0
    for tenant in works:
        for gone, size in redis.hgetall(usage_key(tenant)).items():
            if int(gone) < soon:
                charged[tenant] += int(size)
            else:
                marks += int(size)
    for tenant, (_, _, count) in works.items():
        assert count * 400 <= charged[tenant] <= count * 900, (tenant, charged)
    ends = list(redis.scan_iter("penstock:ended:*", count=1000))
    assert marks == MARKS * sum(name.endswith("0}") for name in ends)
    assert all(redis.ttl(usage_key(tenant)) > 8 * DAY_S for tenant in works)


async def test_what_is_written_down_of_groups_is_charged_and_refused_beyond_the_quota(
    deployment: Deployment, make_tenants: Any
):
    gateway = await make_tenants("heavy", quota=QUOTA)
    redis = deployment.redis
    quiet = {**ADD, "options": {"ignore_result": True, "countdown": 9 * DAY_S}}
    canvas = {"group": [{"group": [quiet] * 1_500}]}
    assert (await ask(gateway, "heavy", "/v1/canvas", canvas))[0] == 202

    names = list(redis.scan_iter("celery-taskset-meta-*"))
    takes = sum(redis.memory_usage(name, samples=0) for name in names)
    [(gone, size)] = redis.hgetall(usage_key("heavy")).items()
    assert len(names) == 2
    assert 0.7 * takes <= int(size) <= 1.1 * takes
    ends = [time.time() + redis.ttl(name) for name in names]
    assert max(ends) <= int(gone) <= max(ends) + 2 * DAY_S
    assert redis.ttl(usage_key("heavy")) > int(gone) - time.time()

    async def refused() -> Any:
        status, problem, _ = await ask(gateway, "heavy", "/v1/canvas", {"group": [quiet]})
        return problem if status == 429 else None

    assert (await ask(gateway, "heavy", "/v1/canvas", canvas))[0] in {202, 429}
    assert (await eventually(refused, 10))["quota"] == "results"
    assert (await ask(gateway, "heavy", "/v1/canvas", {"chain": [quiet]}))[0] == 202


async def test_redis_maxmemory_bounds_each_tenant_and_redis_away_refuses_nobody(
    make_tenants: Any, redis_server: Redis
):
    gateway = await make_tenants("heavy", "light")
    client = RedisClient.from_url(redis_server.url)
    far = int(time.time()) + 3 * DAY_S

    async def submits(tenant: str) -> int:
        status: int = (await ask(gateway, tenant, "/v1/tasks", ADD))[0]
        return status

    async def refused() -> bool:
        return await submits("heavy") == 429

    client.hset(usage_key("heavy"), mapping={far: 80 << 20, int(time.time()) - 999: 1 << 40})
    client.hset(usage_key("light"), mapping={far: 70 << 20, int(time.time()) - 1: 1 << 40})
    assert [await submits(tenant) for tenant in ("heavy", "light")] == [202, 202]
    client.config_set("maxmemory", "100mb")
    try:
        await eventually(refused)
        assert (await ask(gateway, "heavy", "/v1/tasks", ADD))[2] == str(DAY_S)
        assert await submits("light") == 202
        assert list(client.hkeys(usage_key("heavy"))) == [str(far).encode()]
        await redis_server.kill()
        await eventually(lambda: gateway.app[parts.ACCESS].kept_results.looper.failing)
        assert await submits("heavy") == 202
    finally:
        await redis_server.start()
    client.config_set("maxmemory", 0)
