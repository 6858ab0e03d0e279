"""A schedule that is replaced while something else changes it: it runs again afterwards."""

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from redis import Redis

from gateway.redis.client import RedisClient, make_redis
from gateway.schedules.redbeat_forms import redbeat_time
from gateway.schedules.schedule_request import ScheduleRequest, parse_schedule
from gateway.schedules.schedules import Entry, Schedules
from penstock.wire.schedules import NEVER, SCHEDULE_KEY, Owner
from tests.support.schedules_seen import EVERY

KEY = "redbeat:@acme/x"
DAY_S = 86_400


class Interrupted(Schedules):
    """Schedules where something happens between the read and the write of each `put`."""

    def __init__(self, redis: RedisClient, between: Callable[[], Awaitable[Any]]) -> None:
        super().__init__(redis)
        self._between = between

    async def _check_quota(self, tenant: str, name: str, size: int) -> None:
        await super()._check_quota(tenant, name, size)
        await self._between()


class DeletedAtOnce(Schedules):
    """Schedules of which each is deleted between the write and the read of its `put`."""

    async def _write(self, *args: Any, **options: Any) -> int:
        existed = await super()._write(*args, **options)
        assert await self.delete(await read(self))
        return existed


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[RedisClient]:
    client = make_redis(redis_url)
    yield client
    await client.close()


@pytest.fixture
async def daily(redis: RedisClient) -> Schedules:
    """Schedules, with `x` of the tenant acme."""
    schedules = Schedules(redis)
    await schedules.put("acme", "x", wanted(), "old")
    return schedules


def wanted(every: float = DAY_S, **more: Any) -> ScheduleRequest:
    return parse_schedule(json.dumps({**EVERY, "every": every, **more}).encode())


async def read(schedules: Schedules) -> Entry:
    (entry,) = await schedules.read([("acme", "x")])
    return entry


def is_due_in(client: Redis, every_s: float) -> bool:
    score = client.zscore(SCHEDULE_KEY, KEY)
    return isinstance(score, float) and abs(score - time.time() - every_s) < 5


async def test_a_schedule_that_is_suspended_while_another_key_takes_it_over_runs(
    redis, daily, deployment
):
    async def suspend() -> None:
        await daily.suspend(await read(daily), "the key 'old', which made it, is gone")
        assert deployment.redis.zscore(SCHEDULE_KEY, KEY) == NEVER

    schedule, is_new = await Interrupted(redis, suspend).put("acme", "x", wanted(), "new")

    assert not is_new
    assert schedule.owner == Owner(key="new")
    assert schedule.next_run_at is not None
    assert is_due_in(deployment.redis, DAY_S)


async def test_a_schedule_without_a_time_runs_again_once_it_is_put_again(daily, deployment):
    for lose in (
        lambda: deployment.redis.zadd(SCHEDULE_KEY, {KEY: NEVER}),
        lambda: deployment.redis.zrem(SCHEDULE_KEY, KEY),
    ):
        lose()
        await daily.put("acme", "x", wanted(), "old")

        assert is_due_in(deployment.redis, DAY_S)


async def test_a_schedule_that_is_deleted_while_it_is_replaced_is_made_anew(
    redis, daily, deployment
):
    meta = {"last_run_at": redbeat_time(1e9), "total_run_count": 7}
    deployment.redis.hset(KEY, "meta", json.dumps(meta))
    assert (await read(daily)).last_run_at == 1e9

    async def delete() -> None:
        assert await daily.delete(await read(daily))

    schedule, is_new = await Interrupted(redis, delete).put("acme", "x", wanted(), "old")

    assert is_new
    assert (schedule.total_runs, schedule.last_run_at) == (0, None)
    assert is_due_in(deployment.redis, DAY_S)


async def test_a_schedule_that_is_deleted_as_soon_as_it_is_written_was_written(redis, daily):
    schedule, is_new = await DeletedAtOnce(redis).put("acme", "x", wanted(every=5), "old")

    assert not is_new
    assert schedule.definition["schedule"]["every"] == 5
    assert schedule.next_run_at is None
    assert await daily.read([("acme", "x")]) == []


async def test_of_two_changes_at_once_the_last_one_has_its_times(redis, daily, deployment):
    async def change() -> None:
        await daily.put("acme", "x", wanted(every=365 * DAY_S), "old")

    schedule, _ = await Interrupted(redis, change).put("acme", "x", wanted(), "old")

    assert schedule.definition["schedule"]["every"] == DAY_S
    assert is_due_in(deployment.redis, DAY_S)


async def test_a_schedule_that_is_put_again_as_it_is_keeps_its_times(daily, deployment):
    deployment.redis.zadd(SCHEDULE_KEY, {KEY: 5})
    before = deployment.redis.hgetall(KEY)

    await daily.put("acme", "x", wanted(), "old")

    assert deployment.redis.zscore(SCHEDULE_KEY, KEY) == 5
    assert deployment.redis.hgetall(KEY) == before
    await daily.put("acme", "x", wanted(args=[3, 4]), "old")
    assert deployment.redis.zscore(SCHEDULE_KEY, KEY) == 5


async def test_one_that_is_switched_off_is_never_due_until_it_is_switched_on(daily, deployment):
    for args in ([1, 2], [3, 4]):
        await daily.put("acme", "x", wanted(enabled=False, args=args), "old")
        assert deployment.redis.zscore(SCHEDULE_KEY, KEY) == NEVER

    schedule, _ = await daily.put("acme", "x", wanted(), "old")

    assert schedule.next_run_at is not None
    assert is_due_in(deployment.redis, DAY_S)
