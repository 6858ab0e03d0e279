"""The rate of a key: one budget for all gateways, kept with and without Redis."""

import asyncio
import time
from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import from_url

from devstack.proxy import TcpProxy
from gateway.access.auth import Caller
from gateway.access.keys_file import parse_keys
from gateway.access.limits import Limits
from gateway.config import GatewayConfig
from gateway.errors import Problem
from gateway.redis.client import make_redis
from tests.deployment.gateway import running_gateway
from tests.support.waiting import eventually


def limited(name: str, rate: float, burst: float) -> Caller:
    return Caller(name=name, tenant="t", rate=rate, burst=burst)


@pytest.fixture
async def client(redis_url):
    client = make_redis(redis_url)
    yield client
    await client.close()


@pytest.fixture
async def redis(redis_url):
    async with from_url(redis_url) as redis:
        yield redis


async def admitted(limits: Limits, caller: Caller) -> bool:
    try:
        await limits.admit(caller)
    except Problem as problem:
        told = (problem.code, problem.status, problem.queued, bool(problem.retry_after_s))
        if told != ("rate-limited", 429, "no", True):
            raise
        return False
    return True


async def count(limits: Limits, caller: Caller, requests: int) -> int:
    return sum([await admitted(limits, caller) for _ in range(requests)])


async def test_a_key_without_a_rate_is_not_limited(client, redis):
    caller = Caller(name="free", tenant="t")

    assert await count(Limits(client), caller, 1000) == 1000
    assert await redis.keys("*") == []


async def test_a_burst_is_admitted_and_not_one_more(client):
    assert await count(Limits(client), limited("a", rate=0.5, burst=5), 20) == 5


async def test_a_key_of_few_pieces_of_work_gets_them(client):
    slow = {"name": "slow", "sha256": "0" * 64, "scopes": ["read"], "rate": 0.01}
    (caller,) = parse_keys({"key": [slow]}).values()

    assert await count(Limits(client), caller, 3) == 1
    assert await count(Limits(None), caller, 3) == 1


async def test_requests_at_once_share_the_burst_exactly(client):
    limits, caller = Limits(client), limited("a", rate=0.5, burst=5)

    answers = await asyncio.gather(*(admitted(limits, caller) for _ in range(50)))

    assert sum(answers) == 5


async def test_two_gateways_share_one_budget(client):
    caller = limited("shared", rate=1, burst=10)
    first, second = Limits(client), Limits(client)

    answers = [await count(one, caller, 1) for _ in range(20) for one in (first, second)]

    assert 10 <= sum(answers) <= 11  # one more when a second goes by


async def test_keys_do_not_use_each_others_budget(client):
    limits = Limits(client)

    assert await count(limits, limited("a", rate=0.5, burst=3), 10) == 3
    assert await count(limits, limited("b", rate=0.5, burst=3), 10) == 3


async def test_a_flood_gets_its_rate_over_time(client):
    limits, caller = Limits(client), limited("flood", rate=400, burst=40)
    started = time.monotonic()
    passed = 0
    while (elapsed_s := time.monotonic() - started) < 1.5:
        passed += await admitted(limits, caller)
        await asyncio.sleep(0)

    assert 0.75 * 400 * elapsed_s <= passed <= 40 + 400 * elapsed_s + 1


async def test_an_admitted_request_makes_no_round_trip_to_redis(client, redis):
    limits, caller = Limits(client), limited("fast", rate=100_000, burst=100_000)
    await limits.admit(caller)
    before = (await redis.info("stats"))["total_commands_processed"]

    assert await count(limits, caller, 2000) == 2000

    commands = (await redis.info("stats"))["total_commands_processed"] - before
    assert commands < 20


async def test_a_refused_key_is_admitted_again_after_the_time_told(client):
    limits, caller = Limits(client), limited("again", rate=2, burst=1)
    assert await count(limits, caller, 3) == 1

    assert await eventually(lambda: admitted(limits, caller), timeout_s=2)


@pytest.mark.parametrize("fault", ["cut", "stall"])
async def test_without_redis_each_gateway_keeps_the_rate_by_itself(redis_server, fault):
    async with TcpProxy(redis_server.port) as proxy:
        client = make_redis(f"redis://:{redis_server.password}@127.0.0.1:{proxy.port}/0")
        limits, caller = Limits(client), limited("alone", rate=2, burst=6)
        if fault == "cut":
            proxy.cut(refuse=True)
        else:
            proxy.stall()
        started = time.monotonic()

        passed = await count(limits, caller, 30)

        assert time.monotonic() - started < 3
        assert 6 <= passed <= 12
        proxy.resume()
        await client.close()


async def test_over_http_a_flood_gets_429_with_retry_after(amqp_url, redis_url, tmp_path: Path):
    keys = tmp_path / "keys.toml"
    keys.write_text(
        "".join(
            f'[[key]]\nname = "{name}"\nsha256 = "{sha256(name.encode()).hexdigest()}"\n'
            f'scopes = ["submit"]\n{rate}\n'
            for name, rate in (("flood", "rate = 1\nburst = 4"), ("calm", ""))
        )
    )
    config = GatewayConfig(amqp_url=amqp_url, redis_url=redis_url, keys_file=keys)
    async with running_gateway(config) as client:

        async def submit(name: str) -> Any:
            headers = {"Authorization": f"Bearer {name}"}
            body = {"task": "demo.add", "args": [1, 2]}
            async with client.post("/v1/tasks", json=body, headers=headers) as answer:
                return answer.status, answer.headers.get("Retry-After"), await answer.json()

        answers = [await submit("flood") for _ in range(12)]
        assert {status for status, *_ in [await submit("calm") for _ in range(12)]} == {202}

    found = Counter(status for status, *_ in answers)
    assert 4 <= found[202] <= 6
    _, retry_after, problem = answers[-1]
    assert (problem["code"], problem["queued"], retry_after) == ("rate-limited", "no", "1")


async def test_work_beyond_the_bucket_is_a_debt_that_every_gateway_sees(client, redis):
    first, second = Limits(client), Limits(client)
    caller = limited("debtor", rate=2, burst=10)
    await first.admit(caller)

    first.charge(caller, 18)

    refused = await eventually(lambda: refusal(second, caller), timeout_s=2)
    assert refused.retry_after_s == 5  # 19 of 10 spent: 9 owed and 1 to have, at 2 a second
    assert (await eventually(lambda: refusal(first, caller))).retry_after_s == 5
    assert await redis.pttl("penstock:rate:debtor") > 9_000  # or the debt would be forgotten


async def test_a_debtor_is_admitted_after_the_time_told_and_not_before(client):
    limits, caller = Limits(client), limited("debtor", rate=10, burst=1)
    await limits.admit(caller)
    started = time.monotonic()
    limits.charge(caller, 14)

    told_s = (await eventually(lambda: refusal(limits, caller), timeout_s=1)).retry_after_s
    assert await eventually(lambda: admitted(limits, caller), timeout_s=4)

    assert 1.3 <= time.monotonic() - started <= told_s == 2


async def test_a_paused_stream_goes_on_when_the_debt_is_paid(client):
    limits, caller = Limits(client), limited("stream", rate=20, burst=5)
    started = time.monotonic()
    for _ in range(4):
        await limits.pause(caller)
        limits.charge(caller, 10)
    await limits.pause(caller)

    assert 1.6 <= time.monotonic() - started < 4  # 36 pieces more than the burst, at 20 a second


@pytest.mark.parametrize("fault", ["cut", "stall"])
async def test_without_redis_a_debt_is_kept_too(redis_server, fault):
    async with TcpProxy(redis_server.port) as proxy:
        client = make_redis(f"redis://:{redis_server.password}@127.0.0.1:{proxy.port}/0")
        limits, caller = Limits(client), limited("alone", rate=1, burst=5)
        if fault == "cut":
            proxy.cut(refuse=True)
        else:
            proxy.stall()
        await limits.admit(caller)
        limits.charge(caller, 20)

        refused = await eventually(lambda: refusal(limits, caller), timeout_s=3)

        assert 14 <= (refused.retry_after_s or 0) <= 17
        proxy.resume()
        await client.close()


async def test_a_bucket_that_is_no_hash_is_begun_anew(client, redis):
    await redis.set("penstock:rate:odd", "text")

    assert await count(Limits(client), limited("odd", rate=0.5, burst=3), 10) == 3


async def refusal(limits: Limits, caller: Caller) -> Problem | None:
    try:
        await limits.admit(caller)
    except Problem as problem:
        return problem
    return None
