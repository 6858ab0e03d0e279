"""What a tenant may keep in Redis, and what happens when that is used up."""

from typing import Any

from kombu.connection import Connection
from redis.asyncio import from_url

from gateway.api import parts
from gateway.config import GatewayConfig, Quotas
from tests.deployment.gateway import running_gateway
from tests.support.waiting import eventually

ADD = {"task": "demo.add", "args": [1, 2]}


async def asked(client: Any, method: str, path: str, **options: Any) -> tuple[int, Any, str]:
    async with client.request(method, path, **options) as answer:
        told = await answer.json() if answer.status != 204 else None
        return answer.status, told, answer.headers.get("Retry-After", "")


async def test_idempotency_keys_are_bounded_and_those_that_are_kept_go_on(amqp_url, redis_url):
    config = GatewayConfig(
        amqp_url=amqp_url, redis_url=redis_url, quotas=Quotas(idempotency_bytes=6000)
    )
    async with running_gateway(config) as client:

        async def submit(key: int, task: Any = ADD) -> tuple[int, Any, str]:
            headers = {"Idempotency-Key": str(key)}
            return await asked(client, "POST", "/v1/tasks", json=task, headers=headers)

        answers = [await submit(key) for key in range(40)]
        statuses = [status for status, *_ in answers]
        kept = statuses.index(429)
        assert 5 <= kept <= 30
        assert set(statuses[kept:]) == {429}
        _, problem, retry_after = answers[-1]
        assert (problem["code"], problem["quota"], problem["queued"]) == (
            "rate-limited",
            "idempotency",
            "no",
        )
        assert 23 * 3600 <= int(retry_after) <= 25 * 3600
        assert (await submit(0))[0] == 202
        assert (await asked(client, "POST", "/v1/tasks", json=ADD))[0] == 202
    redis = from_url(redis_url)
    used = sum(map(int, await redis.hvals("penstock:kept:idempotency:anonymous")))
    found = [key async for key in redis.scan_iter("penstock:idempotency:*")]
    assert used == sum([len(key) + await redis.strlen(key) for key in found]) <= 7000
    await redis.aclose()


async def test_what_is_refused_gives_its_room_back(amqp_url, redis_url):
    config = GatewayConfig(amqp_url=amqp_url, redis_url=redis_url)
    async with running_gateway(config) as client:
        full = {"task": "demo.add", "args": [1, 2], "options": {"exchange": "nobody"}}
        status, *_ = await asked(
            client, "POST", "/v1/tasks", json=full, headers={"Idempotency-Key": "k"}
        )
        assert status == 404
    redis = from_url(redis_url)
    assert sum(map(int, await redis.hvals("penstock:kept:idempotency:anonymous"))) == 0
    await redis.aclose()


async def test_schedules_are_bounded_by_number_and_size(amqp_url, redis_url):
    quotas = Quotas(schedules=3, schedule_bytes=4000)
    config = GatewayConfig(amqp_url=amqp_url, redis_url=redis_url, quotas=quotas)
    async with running_gateway(config) as client:

        async def put(name: str, text: str = "") -> tuple[int, Any, str]:
            body = {"task": "demo.echo", "args": [text], "every": 3600}
            return await asked(client, "PUT", f"/v1/schedules/{name}", json=body)

        assert [(await put(name))[0] for name in "abc"] == [201, 201, 201]
        status, problem, retry_after = await put("d")
        assert (status, problem["code"], problem["quota"]) == (429, "rate-limited", "schedules")
        assert int(retry_after) > 0
        assert (await put("a", "again"))[0] == 200
        assert (await put("a", "x" * 4000))[0] == 429
        assert (await asked(client, "DELETE", "/v1/schedules/b"))[0] == 204
        assert (await put("d"))[0] == 201


async def test_remembered_callbacks_are_bounded_and_no_submit_is_refused_for_them(
    amqp_url, redis_url
):
    config = GatewayConfig(
        amqp_url=amqp_url,
        redis_url=redis_url,
        callback_hosts=("*",),
        callback_secret=b"s",
        quotas=Quotas(callback_bytes=2000),
    )
    redis = from_url(redis_url)
    async with running_gateway(config) as client:
        options = {"callback_url": "https://there.example/x", "countdown": 3_000_000}
        for _ in range(40):
            assert (await asked(client, "POST", "/v1/tasks", json={**ADD, "options": options}))[
                0
            ] == 202

        async def settled() -> bool:
            total = int(await redis.hget("penstock:kept:callbacks:anonymous", "total") or 0)
            found = [key async for key in redis.scan_iter("penstock:callback:*")]
            sizes = [len(key) + await redis.strlen(key) for key in found]
            return 1500 < total == sum(sizes) <= 2000

        await eventually(settled)
    await redis.aclose()


async def test_callbacks_of_tasks_that_are_refused_give_their_room_back(amqp_url, redis_url):
    config = GatewayConfig(
        amqp_url=amqp_url, redis_url=redis_url, callback_hosts=("*",), callback_secret=b"s"
    )
    redis = from_url(redis_url)
    task = {**ADD, "options": {"callback_url": "https://there.example/x"}}
    async with running_gateway(config) as client:
        assert (await asked(client, "POST", "/v1/tasks", json=task))[0] == 202
        await eventually(lambda: redis.keys("penstock:callback:*"))
        kept = await redis.keys("penstock:callback:*")
        used = await redis.hgetall("penstock:kept:callbacks:anonymous")
        with Connection(amqp_url) as connection:
            connection.default_channel.queue_delete("default")
        status, problem, _ = await asked(client, "POST", "/v1/tasks", json=task)
        assert (status, problem["queued"]) == (503, "no")
        for path, body in (("/v1/tasks/bulk", [task] * 3), ("/v1/canvas", {"chain": [task] * 3})):
            await asked(client, "POST", path, json=body)
        told = client.app[parts.ENDINGS].kept
        await eventually(lambda: repr(told).endswith(" 0 writes>"))

        assert await redis.keys("penstock:callback:*") == kept
        assert await redis.hgetall("penstock:kept:callbacks:anonymous") == used
    await redis.aclose()
