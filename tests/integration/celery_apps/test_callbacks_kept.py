"""Callbacks of tasks of an app: kept before the publish, forgotten when they are of no use."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from kombu.connection import Connection

from devstack.proxy import Direction, TcpProxy
from devstack.rabbit import Rabbit
from gateway.api import parts
from gateway.config import GatewayConfig, Quotas
from gateway.endings.kept_callbacks import Callback, KeptCallbacks
from gateway.errors import Problem
from gateway.sharing.tenant import TENANT
from penstock.wire.keys import DAY_S
from tests.deployment.gateway import Gateway, running_gateway
from tests.deployment.lasting import Lasting
from tests.support.celery_apps import DEPLOYMENT, WORKER, submit
from tests.support.receiver import Receiver, receiving
from tests.support.waiting import eventually

__all__ = ["DEPLOYMENT"]

OUTSTANDING, USAGE = "penstock:outstanding", "penstock:kept:callbacks:anonymous"
RECORDS = "penstock:callback:*"


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as running:
        yield running


@pytest.fixture
def nothing_is_kept(lasting_deployment: Lasting) -> Any:
    redis = lasting_deployment.redis

    async def wait() -> None:
        await eventually(lambda: not redis.exists(OUTSTANDING, USAGE), 20)
        assert redis.keys(RECORDS) == []

    return wait


async def refused(gateway: Gateway, url: str, **options: Any) -> tuple[dict[str, Any], int]:
    task = {"task": "proj.add", "args": [1, 2], "options": {"callback_url": url, **options}}
    async with gateway.post("/v1/tasks", json=task) as answer:
        problem = await answer.json()
        assert answer.status >= 400, problem
        return problem, int(answer.headers.get("Retry-After", 0))


def used(deployment: Lasting) -> int:
    """What the tenant is charged with; the sum over the days is the same as the total."""
    fields = deployment.redis.hgetall(USAGE)
    total = int(fields.pop("total", 0))
    fields.pop("day", None)
    assert sum(map(int, fields.values())) == total
    return total


async def test_what_has_ended_gives_its_room_back(
    apps: Gateway, receiver: Receiver, nothing_is_kept: Any
):
    told = [await submit(apps, "add", n, wait=0, callback_url=receiver.url()) for n in range(20)]
    for one in told:
        await receiver.called(one["id"])

    await nothing_is_kept()


async def test_more_tasks_than_the_quota_holds_run_one_after_the_other(
    apps: Gateway, config: GatewayConfig, receiver: Receiver, nothing_is_kept: Any
):
    async with running_gateway(config, quotas=Quotas(callback_bytes=1000)) as small:
        for n in range(6):
            told = await submit(small, "add", n, wait=0, callback_url=receiver.url())
            await receiver.called(told["id"])
            await nothing_is_kept()


async def test_over_the_quota_the_answer_says_why_and_when_there_may_be_room(
    apps: Gateway, config: GatewayConfig, lasting_deployment: Lasting, receiver: Receiver
):
    await lasting_deployment.rest()
    async with running_gateway(config, quotas=Quotas(callback_bytes=1000)) as small:
        for _ in range(3):
            await submit(small, "add", 1, wait=0, callback_url=receiver.url(), countdown=5 * DAY_S)
        problem, later_s = await refused(small, receiver.url("/" + 500 * "x"))
        await submit(small, "add", 1, wait=0, callback_url=receiver.url())
        _, soon_s = await refused(small, receiver.url("/" + 500 * "x"))

    assert (problem["code"], problem["quota"], problem["queued"]) == (
        "rate-limited", "callbacks", "no",
    )  # fmt: skip
    assert problem["detail"] == (
        "the callback cannot be kept: the callbacks of 'anonymous' whose tasks have not ended take "
        "its whole quota of 1000 bytes, and each gives its room back when its task has ended"
    )
    assert (later_s, soon_s) == (DAY_S, 60)


async def test_a_refused_submit_keeps_nothing(
    lasting_deployment: Lasting, apps: Gateway, receiver: Receiver, nothing_is_kept: Any
):
    await lasting_deployment.rest()
    with Connection(lasting_deployment.amqp_url) as connection:
        connection.default_channel.queue_delete("celery")
    url = receiver.url()
    problem, _ = await refused(apps, url)
    assert (problem["code"], problem["queued"]) == ("broker-unavailable", "no")
    await nothing_is_kept()

    step = {"task": "proj.add", "args": [1], "options": {"callback_url": url}}
    async with apps.post("/v1/tasks/bulk", json=[step] * 5) as answer:
        assert {one["queued"] for one in await answer.json()} == {"no"}
    await nothing_is_kept()
    async with apps.post("/v1/canvas", json={"group": [step, step]}) as answer:
        assert (await answer.json())["queued"] == "no"
    await nothing_is_kept()


async def test_a_canvas_of_which_one_callback_cannot_be_kept_keeps_none(
    apps: Gateway, config: GatewayConfig, receiver: Receiver, nothing_is_kept: Any
):
    step = {"task": "proj.add", "args": [1], "options": {"callback_url": receiver.url()}}
    async with (
        running_gateway(config, quotas=Quotas(callback_bytes=1000)) as small,
        small.post("/v1/canvas", json={"group": [step] * 10}) as answer,
    ):
        problem = await answer.json()
    assert (problem["code"], problem["queued"]) == ("rate-limited", "no")

    await nothing_is_kept()


async def test_a_submit_whose_end_is_not_known_keeps_its_callback(
    apps: Gateway,
    config: GatewayConfig,
    lasting_deployment: Lasting,
    rabbit: Rabbit,
    receiver: Receiver,
    nothing_is_kept: Any,
):
    async with TcpProxy(rabbit.port) as proxy:
        url = proxy.url_through(config.amqp_url)
        async with running_gateway(config, amqp_url=url, confirm_timeout_s=0.5) as far:
            proxy.stall(Direction.TO_CLIENT)
            problem, _ = await refused(far, receiver.url())
            assert (problem["code"], problem["queued"]) == ("unconfirmed", "unknown")
            proxy.resume()
    async with lasting_deployment.worker(*WORKER):
        assert (await receiver.called(problem["id"])).json["state"] == "SUCCESS"

    await nothing_is_kept()


@pytest.fixture
async def kept(apps: Gateway) -> KeptCallbacks:
    return apps.app[parts.ENDINGS].kept


def callback(task_id: str) -> Callback:
    """One of a task that does not end during the test."""
    due = int(time.time()) + DAY_S
    return Callback(task_id, "http://127.0.0.1/", "proj.add", due, looked_after=True)


async def keep(kept: KeptCallbacks, one: Callback, queued: Any = None) -> None:
    TENANT.set("anonymous")
    try:
        async with kept.kept((one,)):
            if queued is not None:
                raise Problem("overloaded", "no", queued=queued)
    except Problem as problem:
        assert problem.code == "overloaded"  # noqa: PT017


async def test_what_an_earlier_try_kept_stays_when_a_later_one_is_refused(
    kept: KeptCallbacks, lasting_deployment: Lasting
):
    await lasting_deployment.rest()
    await keep(kept, callback("first"), "unknown")
    before = used(lasting_deployment)
    await keep(kept, callback("first"), "no")
    await keep(kept, callback("second"), "no")
    redis = lasting_deployment.redis
    await eventually(lambda: redis.keys(RECORDS) == ["penstock:callback:first"])

    assert used(lasting_deployment) == before > 0
    assert len(redis.zrange(OUTSTANDING, 0, -1)) == 1


async def test_a_callback_is_forgotten_once_however_often_that_is_done(
    kept: KeptCallbacks, lasting_deployment: Lasting
):
    redis, one, other = lasting_deployment.redis, callback("one"), callback("other")
    await keep(kept, other)
    before = used(lasting_deployment)
    await keep(kept, one)
    answers = await asyncio.gather(*(kept.forget("one", "anonymous", one.member) for _ in range(5)))

    assert sorted(answers) == [False] * 4 + [True]
    assert used(lasting_deployment) == before > 0
    assert redis.zrange(OUTSTANDING, 0, -1) == [other.member]


async def test_a_callback_of_an_earlier_version_is_forgotten_and_its_day_stays_charged(
    kept: KeptCallbacks, lasting_deployment: Lasting
):
    redis, one = lasting_deployment.redis, callback("one")
    await keep(kept, one)
    key = "penstock:callback:one"
    record = json.loads(redis.get(key))
    redis.set(key, json.dumps({name: record[name] for name in record if name[0] != "g"}))
    before = used(lasting_deployment)

    assert await kept.forget("one", "anonymous", one.member)
    assert used(lasting_deployment) == before > 0
    assert not redis.exists(key, OUTSTANDING)
