"""Operations that take longer than they are kept: they go on, and are listed, until they end."""

import time
from datetime import timedelta

import pytest

from gateway.api import parts
from gateway.operating.operations import ALL_KEY, KEPT_S, PREFIX
from penstock.wire.keys import DAY_S
from tests.deployment.workers import Deployment
from tests.integration.history.test_many_at_once import call, doze
from tests.support.history_documents import NOW
from tests.support.waiting import eventually


@pytest.fixture
def deployment(amqp_url, redis_url, tmp_path):
    return Deployment(amqp_url=amqp_url, redis_url=redis_url, folder=tmp_path)


async def test_an_operation_is_kept_while_it_is_not_done(gateway, deployment):
    redis, operations = deployment.redis, gateway.app[parts.OPERATING].operations
    await operations.begin("later-kind", "s", "acme", 1, "slow")
    redis.expire(f"{PREFIX}slow", 60)
    await eventually(lambda: redis.ttl(f"{PREFIX}slow") > KEPT_S - 60, 10)

    long_ago = time.time() - 8 * DAY_S
    redis.zadd(ALL_KEY, {"slow": long_ago, "gone": long_ago})
    await operations.begin("later-kind", "s", "acme", 1, "new")

    assert [one.id for one in await operations.newest(50, None)] == ["new", "slow"]
    assert redis.zscore(ALL_KEY, "gone") is None


async def test_what_an_operation_is_about_is_kept_while_it_is_not_done(make_gateway, history):
    gateway = await make_gateway(**history.fields)
    await history.database.tasks.insert_many([doze(n) for n in range(60)])
    body = {"where": {"task": "demo.doze"}, "rate": 1}
    await call(gateway, "POST", "/v1/tasks/retry", body, 202)
    soon = {"$set": {"expires_at": NOW + timedelta(hours=1)}}
    kept_in = (history.database.operations, history.database.operation_items)
    for collection in kept_in:
        await collection.update_many({}, soon)

    async def renewed() -> bool:
        late = {"expires_at": {"$gt": NOW + timedelta(days=6)}}
        return [await one.count_documents(late) for one in kept_in] == [1, 60]

    await eventually(renewed, 15, 0.1)
